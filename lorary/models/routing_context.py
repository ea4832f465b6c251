"""The chooser of the current call, or the default chooser.

P requests of a call, T tokens.
"""

from typing import Any

import torch
from torch import Tensor

from lorary.files import say_count
from lorary.models.per_thread import PerThread
from lorary.models.use_lock import UseLock
from lorary.routing import Chooser

PADDING = -1
"""The request of padding tokens."""


class Call:
    """The routing of one call of the model.

    Args:
        chooser: chooses experts; None for the base model alone.
        rows: the request of each token, ``[T]`` or in the batch's shape, with ``PADDING`` for padding; or of
            each row of the batch, ``[B]``. None: each row of the batch is a request.
        num_requests: P, if it is known; a batch of another size is refused.
    """

    def __init__(self, chooser: Chooser | None, rows: Tensor | None = None, num_requests: int | None = None):
        self.chooser = chooser
        self.num_requests = num_requests
        self.rows = None if rows is None else rows.flatten()
        self._last: tuple[tuple[torch.Size, torch.device], Tensor] | None = None

    def rows_of(self, x: Tensor) -> Tensor:
        """Return the request of each token of a layer's input.

        Args:
            x: a layer's input, ``[B, L, I]``, or ``[T, I]`` if the model flattens its batch.

        Returns:
            ``[T]``, int64; the same tensor object for consecutive inputs of the same shape.

        Raises:
            ValueError: if the batch's size does not fit this call's requests.
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
                    f"the call must have the request of each token of the batch, found {self.rows.numel()} "
                    f"for {say_count(shape.numel(), 'token')}: pass rows for all tokens"
                )
            return _repeat(self.rows.to(device), shape.numel())
        count = shape[0] if self.num_requests is None else self.num_requests
        # A model may flatten its batch; experts are only on layers that keep its order.
        is_flat = len(shape) == 1 or shape[0] == 1
        if count != shape[0] and not (is_flat and shape.numel() % count == 0):
            raise ValueError(
                f"experts were given for {say_count(count, 'sequence')}, this batch has {tuple(shape)} "
                "(sequences, tokens): pass experts for each sequence of the batch"
            )
        return _repeat(torch.arange(count, device=device), shape.numel())


def _repeat(rows: Tensor, size: int) -> Tensor:
    """Repeat each entry equally often, in order, to ``[size]``: requests of rows become those of tokens."""
    each = size // len(rows)
    return rows if each == 1 else rows[:, None].expand(len(rows), each).reshape(-1)


class RoutingContext:
    """The state shared by all layers of one model: the chooser of each thread, and the default."""

    def __init__(self) -> None:
        self.default = Call(None)
        """The routing in threads without a current call."""
        self.own: PerThread[Call | None] = PerThread(None)
        """The current call of each thread; None for the default."""
        self.general: int | None = None
        """Place in the stacks of the general expert that others build on; None if none do."""
        self.lock = UseLock()
        self.left_out: dict[str, str] = {}
        """Name -> why the model does not have this expert, for error messages; a copy has none."""
        self.rounded: tuple[torch.dtype, ...] = ()
        """The dtypes to which the model's values were rounded, one after the other, before it got its own."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of a model has the default chooser, but not the threads' current calls. The chooser is state,
        # not an argument, because it may refer to this context.
        return RoutingContext, (), (self.default.chooser, self.general, self.rounded)

    def __setstate__(self, state: tuple[Chooser | None, int | None, tuple[torch.dtype, ...]]) -> None:
        chooser, self.general, self.rounded = state
        self.default = Call(chooser)

    @property
    def active(self) -> Call:
        """The current call of this thread, otherwise the default."""
        return self.own.cell.value or self.default
