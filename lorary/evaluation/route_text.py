"""What the routes of a comparison are, in words."""

from collections.abc import Iterable

from lorary.routing import DEFAULT_ROUTER, ROUTERS

MEANINGS = {
    "base": "the base model alone",
    "random": "an expert of random numbers, as large as the others: what any change of the weights does",
    "uniform": "all experts with equal weights",
    "multi-task": "one expert trained on the examples of all tasks",
    "oracle": "each task's own expert, which only somebody who knows the task can choose",
}


def describe_routes(routes: Iterable[str]) -> str:
    """Explain the routes that are no routers, and name the default router; ``""`` for other routes alone."""
    found = list(routes)
    parts = [f"{name}: {meaning}" for name, meaning in MEANINGS.items() if name in found]
    if DEFAULT_ROUTER in found:
        parts.append(f"{DEFAULT_ROUTER}: the default router")
    others = [name for name in found if name in ROUTERS and name not in (*MEANINGS, DEFAULT_ROUTER)]
    if others:
        kind = "another router" if len(others) == 1 else "other routers"
        parts.append(f"{', '.join(others)}: {kind}")
    return f"{'; '.join(parts)}." if parts else ""
