"""Descriptions of the routes of a comparison."""

from collections.abc import Iterable

from lorary.routing import DEFAULT_ROUTER, ROUTERS

MEANINGS = {
    "base": "the base model alone",
    "random": "an expert with random weights of the same norm: the effect of any change of that size",
    "uniform": "all experts with equal weights",
    "multi-task": "one expert trained on the examples of all tasks",
    "oracle": "each task's own expert, which can be chosen only if the task is known",
}


def describe_routes(routes: Iterable[str]) -> str:
    """Explain the routes that are not routers, and name the default router; ``""`` for none of these."""
    found = list(routes)
    parts = [f"{name}: {meaning}" for name, meaning in MEANINGS.items() if name in found]
    if DEFAULT_ROUTER in found:
        parts.append(f"{DEFAULT_ROUTER}: the default router")
    others = [name for name in found if name in ROUTERS and name not in (*MEANINGS, DEFAULT_ROUTER)]
    if others:
        kind = "another router" if len(others) == 1 else "other routers"
        parts.append(f"{', '.join(others)}: {kind}")
    return f"{'; '.join(parts)}." if parts else ""
