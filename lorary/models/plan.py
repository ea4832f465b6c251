"""Experts of whole requests, fixed before the model runs.

P requests of a call, T tokens, K experts per request, E experts.
"""

import torch
from torch import Tensor

from lorary.routing import Choice
from lorary.routing.contract import Subset


class Plan:
    """A ``Chooser`` that knows the experts of each request beforehand.

    Args:
        indices: experts, ``[P, K]``.
        weights: their weights, of the same shape; 0 leaves an expert out.
        num_experts: E, to leave out stacks that no request uses.
        combine: ``"outputs"`` or ``"factors"``, see ``mix``.

    Raises:
        ValueError: if shapes disagree or an index is out of range.
    """

    def __init__(self, indices: Tensor, weights: Tensor, num_experts: int, combine: str = "outputs"):
        if indices.shape != weights.shape or indices.dim() != 2:
            raise ValueError(
                "a plan takes indices and weights of one shape, [P, K]; "
                f"found {tuple(indices.shape)} and {tuple(weights.shape)}"
            )
        if indices.is_floating_point() or indices.is_complex() or not weights.is_floating_point():
            raise ValueError(
                f"a plan takes whole indices and floating weights, found {indices.dtype} and {weights.dtype}"
            )
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < num_experts:
            raise ValueError(f"a plan's indices must lie in [0, {num_experts})")
        self.num_requests = len(indices)
        self.is_base_only = not bool(weights.any())
        self._combine = combine
        indices, weights = _leave_out_zeros(indices, weights)
        self.used, local = _narrow(indices, num_experts)
        """The experts that any request uses: neighbours as a slice, else ``[U]``; None for all."""
        # The last row is padding's, which is request -1: no expert has weight there.
        self._indices, self._weights, self._local = map(_add_row, (indices, weights, local))
        self._last: tuple[Tensor, Choice] | None = None

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Give each token its request's experts; see ``Chooser``."""
        if self.is_base_only:
            return None
        if torch.compiler.is_compiling():
            # A compiled step serves whatever experts are in use.
            return Choice(
                self._indices.to(rows.device)[rows], self._weights.to(rows.device)[rows], self._combine
            )
        last = self._last
        # All layers of a call have one answer.
        if last is None or last[0] is not rows:
            last = self._last = rows, self._spread(rows)
        return last[1]

    def _spread(self, rows: Tensor) -> Choice:
        """Take the plan's rows for tokens ``[T]``."""
        indices, weights, local = (
            table.to(rows.device)[rows] for table in (self._indices, self._weights, self._local)
        )
        subset = None if self.used is None else Subset(self.used, local)
        return Choice(indices, weights, self._combine, subset)


def _add_row(table: Tensor) -> Tensor:
    return torch.cat([table, table.new_zeros(1, table.shape[1])])


def _leave_out_zeros(indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Cut K to the most experts that a row gives weight to: a router may name all, and mean a few."""
    counts = weights != 0
    if weights.requires_grad or bool(counts.all()):
        return indices, weights
    longest = max(int(counts.sum(-1).max()), 1)
    order = (~counts).to(torch.int8).argsort(dim=-1, stable=True)[..., :longest]
    indices, weights = indices.gather(-1, order), weights.gather(-1, order)
    # A shorter row's rest names its first expert again, so that no stack is taken for it.
    return indices.where(weights != 0, indices[..., :1]), weights


def _narrow(indices: Tensor, num_experts: int) -> tuple[slice | Tensor | None, Tensor]:
    """Say which stacks are used (None: all), and renumber the indices among those."""
    used, local = indices.unique(return_inverse=True)
    if len(used) == num_experts:
        return None, indices
    first = int(used[0]) if len(used) else 0
    if len(used) and int(used[-1]) - first + 1 == len(used):
        # Neighbours are a view: no copy forward, a cheap gradient backward.
        return slice(first, first + len(used)), local
    return used, local
