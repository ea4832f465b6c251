"""Routes: the choices of experts that an evaluation compares."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lorary.assembly import RoutedModel
from lorary.assembly.router import Router
from lorary.assembly.tasks import name_task_expert
from lorary.errors import UnknownExpert, suggest
from lorary.evaluation.items import Prompt
from lorary.evaluation.route_experts import RouteExperts, decide_prompts, name_experts
from lorary.evaluation.route_uses import ORACLE, TASKS
from lorary.files import quote
from lorary.passes.layout import Layout
from lorary.routing import ROUTERS, RouterConfig

EXPERT_PREFIX = "expert:"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One choice of experts: the base model alone, a router, or a named expert for each task."""

    name: str
    """Its name in tables."""
    router: str | None = None
    """A key of ``ROUTERS``; None for the base model, or for named experts."""
    options: RouterConfig | None = None
    """The router's configuration; None for its defaults."""
    combine: str = "outputs"
    """How several experts are combined, see ``mix``."""
    expert_of: Mapping[str, str] | None = None
    """Task -> the expert for it, instead of a router."""

    def prepare(
        self,
        model: RoutedModel,
        prompts: Sequence[Prompt],
        layout: Layout,
        *,
        tokens_per_pass: int,
        row_length: int,
    ) -> RouteExperts:
        """Build the route's router on a model; a request router chooses for all prompts.

        Args:
            model: the model; it is not changed.
            prompts: all prompts of the evaluation.
            layout: an exact layout on the model, see ``find_layout``.
            tokens_per_pass: maximum number of tokens in one forward pass.
            row_length: length of packed rows.

        Raises:
            UnknownExpert: if an expert is not on the model.
            ValueError: if a fact that the router needs is missing.
        """
        router = self.build_router(model)
        if router is None or router.decider is None:
            return self.prepare_known(model, router)
        return decide_prompts(
            model, router, prompts, layout, tokens_per_pass=tokens_per_pass, row_length=row_length
        )

    def build_router(self, model: RoutedModel) -> Router | None:
        """Build the route's router on a model; None for the base model, or for named experts.

        Raises:
            ValueError: if a fact that the router needs is missing.
        """
        if self.expert_of is not None or self.router is None:
            return None
        options = {} if self.options is None else vars(self.options)
        return model.router(self.router, combine=self.combine, **options)

    def prepare_known(self, model: RoutedModel, router: Router | None) -> RouteExperts:
        """Return the route's experts if no choice depends on prompts.

        Args:
            model: the model.
            router: the route's router, which chooses while the model runs; None for none.

        Raises:
            UnknownExpert: if an expert is not on the model.
        """
        if self.expert_of is not None:
            return name_experts(model, self.expert_of)
        return RouteExperts(stack=model.stack, router=router)


def make_routes(
    names: Sequence[str],
    model: RoutedModel,
    experts_of_tasks: Mapping[str, str],
    *,
    options: Mapping[str, RouterConfig] | None = None,
    combine: str = "outputs",
) -> list[Route]:
    """Make routes from names, as used on the command line.

    Args:
        names: ``"base"``, ``"oracle"`` (each task's own expert), ``"tasks"`` (the model's skills, mixed
            for each task; for other tasks their mean), a router's name, a control's name (``"random"``,
            ``"multi-task"``), or ``"expert:NAME"``.
        model: the model that they will run on.
        experts_of_tasks: task -> its own expert, for all tasks; used by the oracle.
        options: router -> its configuration; other routers have their defaults.
        combine: how routers combine several experts, see ``mix``.

    Raises:
        ValueError: if a name is none of these, or the model has no tasks.
        UnknownExpert: if an expert is not on the model.
    """
    general = [] if model.general is None else [model.general]
    check_routes(names, [*model.names, *general], model.controls)
    configured = options or {}
    return [
        Route(name=name, router=name, options=configured.get(name), combine=combine)
        if name in ROUTERS
        else _make_route(name, model, experts_of_tasks)
        for name in names
    ]


def check_routes(names: Sequence[str], experts: Collection[str], controls: Collection[str]) -> None:
    """Check route names before a model is loaded.

    Args:
        names: names for ``make_routes``.
        experts: the experts that will be on the model.
        controls: the controls that will be on the model.

    Raises:
        ValueError: if a name is not that of a route.
        UnknownExpert: if it is ``"expert:NAME"`` and there is no such expert.
    """
    known = ["base", ORACLE, TASKS, *ROUTERS, *controls]
    for name in names:
        expert = name.removeprefix(EXPERT_PREFIX)
        if expert != name and expert not in {*experts, *controls}:
            raise UnknownExpert(expert, {*experts, *controls}, "this model")
        if expert == name and name not in known:
            meant = f"did you mean '{EXPERT_PREFIX}{name}'?" if name in experts else None
            raise ValueError(
                f"there is no route {quote(name)}: {meant or suggest(name, [*known, 'expert:NAME'])}"
            )


def _make_route(name: str, model: RoutedModel, own: Mapping[str, str]) -> Route:
    if name == "base":
        return Route(name=name)
    one = name.removeprefix(EXPERT_PREFIX)
    expert_of = dict(own) if name == ORACLE else dict.fromkeys(own, one)
    if name == TASKS:
        names = model.stack.names
        expert_of = {task: name_task_expert(names, task if task in model.tasks else None) for task in own}
    for expert in expert_of.values():
        model.stack.index(expert)
    return Route(name=name, expert_of=expert_of)
