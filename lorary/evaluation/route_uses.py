"""What a route uses besides the request, for tables. This file needs no PyTorch."""

from lorary.routing import ROUTERS

ORACLE = "oracle"
"""The route that uses each task's own expert."""
TASKS = "tasks"
"""The route that uses the library's skills, mixed for each task."""
NAMED = "task names"
"""What a route uses if it gets the task of each request."""


def name_uses(route: str) -> str:
    """Return what a route uses besides the request; empty if it chooses nothing.

    Args:
        route: a route's name, see ``make_routes``; for a router, the data that the router uses is returned.
    """
    if route in (ORACLE, TASKS):
        return NAMED
    return str(ROUTERS[route].uses) if route in ROUTERS else ""
