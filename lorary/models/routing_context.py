"""The chooser while a model runs: that of the call in this thread, or the default.

P requests of a call, T tokens.
"""

from typing import Any

import torch
from torch import Tensor

from lorary.models.per_thread import PerThread
from lorary.models.use_lock import UseLock
from lorary.routing import Chooser

PADDING = -1
"""The request of padding tokens."""


class Call:
    """What holds for one call of the model.

    Args:
        chooser: chooses experts; None for the base model alone.
        rows: which request each token belongs to, ``[T]`` or of the batch's shape; ``PADDING`` where there is
            none. ``[B]`` says it for whole rows of a batch. None takes each row of a batch for a request.
        num_requests: P, if it is known: a batch of another size is refused.
    """

    def __init__(self, chooser: Chooser | None, rows: Tensor | None = None, num_requests: int | None = None):
        self.chooser = chooser
        self.num_requests = num_requests
        self.rows = None if rows is None else rows.flatten()
        self._last: tuple[tuple[torch.Size, torch.device], Tensor] | None = None

    def rows_of(self, x: Tensor) -> Tensor:
        """Say which request each token of a layer's input belongs to.

        Args:
            x: a layer's input, ``[B, L, I]`` or, where the model flattens its batch, ``[T, I]``.

        Returns:
            ``[T]``, int64; the same tensor for all inputs of one shape that follow each other.

        Raises:
            ValueError: if the batch is not one of this call.
        """
        shape = x.shape[:-1]
        if torch.compiler.is_compiling():
            return self._lay_out_rows(shape, x.device)
        last, key = self._last, (shape, x.device)
        if last is None or last[0] != key:
            last = self._last = key, self._lay_out_rows(shape, x.device)
        return last[1]

    def _lay_out_rows(self, shape: torch.Size, device: torch.device) -> Tensor:
        if self.rows is not None:
            if not self.rows.numel() or shape.numel() % self.rows.numel():
                raise ValueError(
                    f"the call says of {self.rows.numel()} tokens which request they belong to, but a layer "
                    f"reads {shape.numel()}: give rows for all tokens of the batch"
                )
            return _repeat(self.rows.to(device), shape.numel())
        count = shape[0] if self.num_requests is None else self.num_requests
        # A model may flatten its batch; experts are only on layers that keep its order.
        is_flat = len(shape) == 1 or shape[0] == 1
        if count != shape[0] and not (is_flat and shape.numel() % count == 0):
            raise ValueError(
                f"experts were given for {count} sequences, this batch has {tuple(shape)} "
                "(sequences, tokens): give one expert per sequence of the batch"
            )
        return _repeat(torch.arange(count, device=device), shape.numel())


def _repeat(rows: Tensor, size: int) -> Tensor:
    """Say for each of a layer's inputs, ``[size]``, what is known for each row or token, in their order."""
    each = size // len(rows)
    return rows if each == 1 else rows[:, None].expand(len(rows), each).reshape(-1)


class RoutingContext:
    """The state shared by all layers of one model: the chooser of each thread, and the default."""

    def __init__(self) -> None:
        self.default = Call(None)
        """What holds in threads that have no call of their own."""
        self.own: PerThread[Call | None] = PerThread(None)
        """The call that a thread is in; None for the default."""
        self.lock = UseLock()

    def __reduce__(self) -> tuple[Any, ...]:
        # What threads do with a model is no part of its copies.
        return _copy_context, (self.default.chooser,)

    @property
    def active(self) -> Call:
        """What holds in this thread."""
        return self.own.cell.value or self.default


def _copy_context(chooser: Chooser | None) -> RoutingContext:
    copy = RoutingContext()
    copy.default = Call(chooser)
    return copy
