"""Choose the routes to compare."""

from collections.abc import Collection, Mapping, Sequence

from lorary.cli.comparison.options import DEFAULT_ROUTES
from lorary.errors import UnknownExpert, suggest
from lorary.evaluation.routes import TASKS, check_routes
from lorary.files import quote
from lorary.routing import DEFAULT_ROUTER, ROUTERS

RANDOM = "random"
ORACLE = "oracle"


def choose_routes(
    asked: str | Sequence[str] | None,
    tasks: Collection[str],
    own: Mapping[str, str],
    experts: Collection[str],
    controls: Collection[str],
    *,
    has_skills: bool = False,
    has_encoder: bool = False,
) -> list[str]:
    """Choose the routes to compare, and refuse impossible ones.

    Args:
        asked: names, or one text with commas; None means the default routes, all controls, and the oracle
            if every task has its own expert.
        tasks: names of the tasks.
        own: task -> its own expert.
        experts: names of the library's experts.
        controls: names of the controls.
        has_skills: whether the library has skills; their tasks are then a default route.
        has_encoder: whether the base model has an encoder, on which the calibrated router is not a default.

    Raises:
        ValueError: if a name is not a route, or is given twice; or if there are skills only and a route needs
            experts.
        UnknownExpert: if the oracle is a route and a task has no expert, or if an expert is unknown.
    """
    if asked is None:
        first = DEFAULT_ROUTES[:-1] if experts else DEFAULT_ROUTES[:1]
        names = [*first, *controls, *([TASKS] if has_skills else []), *DEFAULT_ROUTES[-1:]]
        left_out = {DEFAULT_ROUTER} if has_encoder else set()
        return [name for name in names if name not in left_out and (name != ORACLE or len(own) == len(tasks))]
    names = split_commas(asked)
    check_routes(names, experts, {*controls, RANDOM})
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(
            f"routes must have at least one name, each once, found {quote(names)}: correct --routes"
        )
    picky = [name for name in names if not experts and (name in ROUTERS or name == RANDOM)]
    if picky:
        raise ValueError(
            f"route {quote(picky[0])} needs experts, the library has skills only: compare base and {TASKS}"
        )
    missing = [task for task in tasks if task not in own]
    if ORACLE in names and missing:
        raise UnknownExpert(missing[0], experts, "the library (the oracle needs an expert of each task)")
    return names


def check_against(against: str | None, routes: Collection[str]) -> None:
    """Refuse a reference route that is not among the routes.

    Raises:
        ValueError: with the nearest routes.
    """
    if against is not None and against not in routes:
        raise ValueError(
            f"--against must be one of the compared routes, found {quote(against)}: "
            f"{suggest(against, routes)}"
        )


def split_commas(asked: str | Sequence[str]) -> list[str]:
    """Split a text such as ``a,b``; a list from YAML is kept."""
    if isinstance(asked, str):
        return [name.strip() for name in asked.split(",") if name.strip()]
    return list(asked)
