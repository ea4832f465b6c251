"""Who decides which experts are used: in one thread for a while, or for everybody.

Until routing is passed with the call, a model is shared by all threads: what a context sets is its thread's
alone, and what is set for everybody waits until no other thread uses the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lorary.models.per_thread import PerThread
from lorary.models.plan import Plan
from lorary.models.use_lock import UseLock


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What holds in one thread."""

    plan: Plan | None = None
    """The experts of the batch; None lets routers decide."""
    routers: Mapping[str, nn.Module | None] | None = None
    """Module path -> who routes there instead of the layer's own router; None for those."""
    combine: str | None = None
    """How experts are put together; None for as everybody does."""


class Decision:
    """What all layers of one model share.

    Args:
        combine: how experts are put together, ``"outputs"`` or ``"factors"``, unless a thread has its way.
    """

    def __init__(self, combine: str = "outputs"):
        self.combine_for_all = combine
        self.lock = UseLock()
        self.own = PerThread(Ruling())

    def __reduce__(self) -> tuple[Any, ...]:
        # What threads do with a model is no part of its copies.
        return Decision, (self.combine_for_all,)

    @property
    def ruling(self) -> Ruling:
        """What holds in this thread."""
        return self.own.cell.value

    @property
    def plan(self) -> Plan | None:
        """This thread's plan."""
        return self.ruling.plan

    @property
    def combine(self) -> str:
        """How experts are put together in this thread."""
        return self.ruling.combine or self.combine_for_all
