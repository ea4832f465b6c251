"""Which experts answer for which task, and which routes are compared."""

from collections.abc import Collection, Mapping, Sequence

from lorary.errors import UnknownExpert, suggest
from lorary.evaluation import check_routes
from lorary.files import quote

DEFAULT_ROUTES = ("base", "random", "uniform", "arrow", "calibrated", "oracle")
RANDOM = "random"
ORACLE = "oracle"


def choose_routes(
    asked: str | Sequence[str] | None,
    tasks: Collection[str],
    own: Mapping[str, str],
    experts: Collection[str],
    controls: Collection[str],
) -> list[str]:
    """Choose the routes to compare, and refuse those that cannot be.

    Args:
        asked: names, or one text with commas; None means the default ones, all given controls, and the oracle
            if every task has its own expert.
        tasks: names of the tasks.
        own: task -> its own expert.
        experts: names of the library's experts.
        controls: names of the given controls.

    Raises:
        ValueError: if a name is no route, or stands twice.
        UnknownExpert: if the oracle is asked for and a task has no expert, or an expert is unknown.
    """
    if asked is None:
        names = [*DEFAULT_ROUTES[:-1], *controls, *DEFAULT_ROUTES[-1:]]
        return [name for name in names if name != ORACLE or len(own) == len(tasks)]
    names = split_commas(asked)
    check_routes(names, experts, {*controls, RANDOM})
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(f"routes must be named once each, at least one, found {quote(names)}")
    missing = [task for task in tasks if task not in own]
    if ORACLE in names and missing:
        raise UnknownExpert(missing[0], experts, "the library (the oracle needs an expert of each task)")
    return names


def check_against(against: str | None, routes: Collection[str]) -> None:
    """Refuse a route to hold the others against that is not among them.

    Raises:
        ValueError: which there are.
    """
    if against is not None and against not in routes:
        raise ValueError(
            f"--against must name one of the routes that are compared, found {quote(against)}: "
            f"{suggest(against, routes)}"
        )


def split_commas(asked: str | Sequence[str]) -> list[str]:
    """Split ``a,b`` as the command line has it; a list from YAML stays."""
    if isinstance(asked, str):
        return [name.strip() for name in asked.split(",") if name.strip()]
    return list(asked)
