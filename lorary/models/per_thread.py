"""Thread-local values, and hooks for one thread only."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class _Cell(Generic[Value]):
    """The value of one thread."""

    def __init__(self, value: Value):
        self.value = value


class PerThread(threading.local, Generic[Value]):
    """A value per thread, which ``torch.compile`` can read within a graph.

    Args:
        value: the initial value of every thread.
    """

    def __init__(self, value: Value):
        # threading.local calls this again in each thread that accesses the object.
        self.cell = _Cell(value)

    @contextmanager
    def set_to(self, value: Value) -> Iterator[None]:
        """Within this context the thread that entered it has another value."""
        # The cell is remembered: if a generator is left open, another thread may run the cleanup.
        cell = self.cell
        before = cell.value
        cell.value = value
        try:
            yield
        finally:
            cell.value = before


# Not `threading.get_ident()`, because numbers of ended threads are used again.
_here = PerThread(None)


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a module hook that does nothing when another thread than this one runs the module."""
    owner = _here.cell

    def act_here(*given: Any) -> Any:
        return hook(*given) if _here.cell is owner else None

    return act_here
