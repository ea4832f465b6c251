"""What a route uses besides the request, for tables. This file needs no PyTorch."""

from lorary.routing import ROUTERS

ORACLE = "oracle"
"""The route on which each task's own expert answers."""
TASKS = "tasks"
"""The route on which the library's skills answer, mixed for each task."""
NAMED = "task names"
"""What a route uses that is told the task of each request."""


def name_uses(route: str) -> str:
    """Return what a route uses besides the request; empty if it chooses nothing.

    Args:
        route: a route's name, see ``make_routes``. That of a router says what the router uses.
    """
    if route in (ORACLE, TASKS):
        return NAMED
    return str(ROUTERS[route].uses) if route in ROUTERS else ""
