"""Thread-local values, and hooks for one thread only."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class _Cell(Generic[Value]):
    """Where one thread keeps its value."""

    def __init__(self, value: Value):
        self.value = value


class PerThread(threading.local, Generic[Value]):
    """A value that each thread has for itself; ``torch.compile`` can read it within a graph.

    Args:
        value: what every thread begins with.
    """

    def __init__(self, value: Value):
        # Called again in each thread that asks.
        self.cell = _Cell(value)

    @contextmanager
    def set_to(self, value: Value) -> Iterator[None]:
        """Within this context the thread that entered it has another value."""
        cell = self.cell  # another thread may be the one that tidies up what a thread left open
        before = cell.value
        cell.value = value
        try:
            yield
        finally:
            cell.value = before


# Not `threading.get_ident()`: the system gives the numbers of ended threads to new ones.
_here = PerThread(None)


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Make a module's hook that does nothing when another thread runs the module."""
    owner = _here.cell

    def act_here(*given: Any) -> Any:
        return hook(*given) if _here.cell is owner else None

    return act_here
