"""Prepare an evaluation: tasks, routes, and a model with all experts and controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jsonargparse import Namespace

from lorary.assembly import RoutedModel, load_model
from lorary.cli.bars import show_work
from lorary.cli.base_model import load_options_base
from lorary.cli.comparison.material import find_task_of_each, provide_material
from lorary.cli.comparison.routes import RANDOM, check_against, choose_routes, split_commas
from lorary.cli.comparison.without_library import prepare_without_library
from lorary.cli.default_router import are_for_encoder
from lorary.cli.filled_library import choose_routed, look_routed, open_filled_library
from lorary.cli.router_configs import read_gate_steps, read_router_options, refuse_unused_options
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.cli.tuned_options import use_tuned
from lorary.data import FewShotTemplate, Task, Template
from lorary.evaluation import EvalConfig, Route, make_routes
from lorary.evaluation.routes import EXPERT_PREFIX, TASKS
from lorary.experts import Expert
from lorary.experts.roles import SKILL
from lorary.experts.skills import SkillSet
from lorary.facts import FACTS
from lorary.library.own_experts import find_own_experts
from lorary.library.skills import load_only_skills, load_skills
from lorary.library.view import LibraryView
from lorary.routing import ROUTERS, RouterConfig
from lorary.transforms import random_expert


@dataclass(frozen=True)
class Comparison:
    """The inputs of a comparison of routes, with base and experts loaded."""

    library: Mapping[str, Expert]
    """The experts that routers choose among; none without a library."""
    model: RoutedModel
    """Base, experts and controls, without a router."""
    tasks: Mapping[str, Task]
    """The tasks to evaluate, by name."""
    own: Mapping[str, str]
    """Task -> its own expert, for tasks that have one."""
    routes: Sequence[Route]
    """The routes to compare."""
    template: Template
    """How examples become prompts."""
    config: EvalConfig
    """Metrics and sizes."""


def prepare_comparison(options: Namespace, *routers: str) -> Comparison:
    """Check all options, then load base and experts once.

    Args:
        options: the command's options.
        routers: names of further routers to prepare, besides those of the routes.

    Raises:
        ValueError: with the invalid option.
        LoraryError: if a library, a task or the base model cannot be used.
    """
    config = read_eval_options(options)
    template = read_prompt_template(options)
    tasks = read_tasks(options)
    for task in tasks.values():
        task.split(config.split)
        if options.shots:
            task.split("train")
    found = prepare_routes(options, dict.fromkeys(tasks), tasks, config.seed, routers)
    return Comparison(found.library, found.model, tasks, found.own, found.routes, template, config)


def read_prompt_template(options: Namespace) -> Template:
    """Return the template of the measured prompts, which may have examples before each.

    Raises:
        ValueError: if their number is below 0.
    """
    template = read_task_template(options)
    if options.shots < 0:
        raise ValueError(f"--shots must be 0 or more, found {options.shots}")
    seed = options.evaluation.seed
    return FewShotTemplate(template=template, shots=options.shots, seed=seed) if options.shots else template


@dataclass(frozen=True)
class PreparedRoutes:
    """Routes on a model, with base and experts loaded."""

    library: Mapping[str, Expert]
    """The experts that routers choose among; none without a library."""
    model: RoutedModel
    """Base, experts and controls, without a router."""
    routes: Sequence[Route]
    """The routes."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Task -> its own expert, for tasks that have one."""


def prepare_routes(
    options: Namespace,
    measured: Mapping[str, str | None],
    tasks: Mapping[str, Task],
    seed: int,
    routers: Sequence[str] = (),
) -> PreparedRoutes:
    """Check the options of routes, then load base and experts once.

    Args:
        options: the command's options. Without a library, routes are the base model and controls.
        measured: name of a measured task -> another name of it in the experts' cards, or None.
        tasks: tasks with training examples of the experts, for routers that need these.
        seed: of the random expert.
        routers: names of further routers to prepare, besides those of the routes.

    Raises:
        ValueError: with the invalid option.
        LoraryError: if a library or the base model cannot be used.
    """
    if options.library is None:
        return PreparedRoutes({}, *prepare_without_library(options, measured))
    library = _open_experts(options, routers)
    controls = open_filled_library(options.controls) if options.controls is not None else {}
    own = _find_own(library, measured)
    skills = _find_skills(options, library)
    names = choose_routes(
        options.routes,
        measured,
        own,
        _list_experts(library),
        list(controls),
        has_skills=skills is not None,
        has_encoder=are_for_encoder(library),
    )
    if options.skills is not None and TASKS not in names:
        raise ValueError("--skills names the skills of the route tasks: add this route, or leave it out")
    check_against(options.against, names)
    refuse_unused_options(options, [*names, *routers])
    configured = {
        name: use_tuned(
            read_router_options(options, name, list(library), with_tasks=True), name, library, options
        )
        for name in dict.fromkeys((*names, *routers))
        if name in ROUTERS
    }
    gate_steps = read_gate_steps(options)
    trained = find_own_experts(library.entries(), tasks)
    task_of = find_task_of_each(list(library), trained, tasks, (*configured, *routers))
    # In less than float32, an answer may depend on the other examples of its batch.
    base = load_options_base(options, library or library.library, torch.float32)
    with show_work("preparing the routers") as show:
        model = load_model(
            base,
            library,
            router=None,
            controls=gather_controls(library, controls, names, seed),
            skills=(skills or load_skills(library.library)) if TASKS in names else None,
            trust_base=options.trust_base,
            on_progress=show,
        )
        compute_facts(model, configured)
    template = read_task_template(options)
    provide_material(model, library, task_of, template, (*configured, *routers), gate_steps)
    # Only the oracle uses own experts, and it is a route only if every task has one.
    answering = {task: own.get(task, task) for task in measured}
    routes = make_routes(names, model, answering, options=configured, combine=options.combine or "outputs")
    return PreparedRoutes(library, model, routes, own)


def _find_own(library: LibraryView, measured: Mapping[str, str | None]) -> dict[str, str]:
    """Find each task's own expert, by the task's name or else by its other name."""
    own = find_own_experts(library.entries(), measured)
    others = find_own_experts(library.entries(), [name for name in measured.values() if name is not None])
    by_other = {task: others[name] for task, name in measured.items() if name in others}
    return {**by_other, **own}


def compute_facts(model: RoutedModel, configured: Mapping[str, RouterConfig]) -> None:
    """Compute the facts that need no task examples, before the progress of the others is shown."""
    for name, config in configured.items():
        if not any(FACTS[fact].needs_tasks for fact in config.needs):
            model.router(name, **vars(config))


def _open_experts(options: Namespace, routers: Sequence[str]) -> LibraryView:
    """Open the experts of the library; none if it has skills only and no further router needs experts."""
    library = open_filled_library(options.library)
    view = look_routed(options, library)
    has_skills_only = not view and SKILL in view.left_out and not routers
    return view if has_skills_only else choose_routed(options, library)


def _find_skills(options: Namespace, library: LibraryView) -> SkillSet | None:
    """Return the skills of ``--skills``, or the only ones."""
    if options.skills is not None:
        return load_skills(library.library, options.skills)
    return load_only_skills(library.library) if SKILL in library.left_out else None


def _list_experts(library: LibraryView) -> list[str]:
    """List all experts that a route may name; none if the library has skills only."""
    return list(library.library) if library else []


def read_eval_options(options: Namespace) -> EvalConfig:
    """Build the configuration of the evaluation.

    Raises:
        ValueError: with the invalid setting.
    """
    return EvalConfig(metrics=tuple(split_commas(options.metrics)), **vars(options.evaluation))


def gather_controls(
    library: LibraryView, controls: Mapping[str, Expert], routes: Sequence[str], seed: int
) -> dict[str, Expert]:
    """Load the controls among the routes; make the random expert if it is a route and not a control.

    Experts of the library that routers do not choose, such as merges, are controls if they are routes.
    """
    wanted = {route.removeprefix(EXPERT_PREFIX) for route in routes}
    named = {route.removeprefix(EXPERT_PREFIX) for route in routes if route.startswith(EXPERT_PREFIX)}
    beside = {name for names in library.left_out.values() for name in names} & named
    found = {name: library.library[name] for name in sorted(beside)}
    found |= {name: controls[name] for name in controls if name in wanted}
    if RANDOM in wanted and RANDOM not in found:
        found[RANDOM] = random_expert(library, seed)
    return found
