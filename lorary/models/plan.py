"""The chooser of experts that are known for each request before the model runs.

P requests of a call, T tokens, K experts per request, E experts.
"""

import torch
from torch import Tensor

from lorary.files import say_count
from lorary.routing import Choice
from lorary.routing.contract import Subset


class Plan:
    """A ``Chooser`` of given experts for each request.

    Args:
        indices: the experts of each request, ``[P, K]``.
        weights: their weights, ``[P, K]``; 0 excludes an expert.
        num_experts: E, the number of experts in the stacks.
        combine: ``"outputs"`` or ``"factors"``, see ``mix``.
        general: which requests also use the model's general expert, ``[P]`` bool; None: all.

    Raises:
        ValueError: if shapes disagree or an index is out of range.
    """

    def __init__(
        self,
        indices: Tensor,
        weights: Tensor,
        num_experts: int,
        combine: str = "outputs",
        general: Tensor | None = None,
    ):
        if indices.shape != weights.shape or indices.dim() != 2:
            raise ValueError(
                "a plan needs indices and weights of the same shape [P, K], "
                f"found {tuple(indices.shape)} and {tuple(weights.shape)}"
            )
        if indices.is_floating_point() or indices.is_complex() or not weights.is_floating_point():
            raise ValueError(
                "a plan needs integer indices and floating-point weights, "
                f"found {indices.dtype} and {weights.dtype}"
            )
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < num_experts:
            raise ValueError(
                f"a plan's indices must be in [0, {num_experts}), the number of experts, found "
                f"{int(indices.min())} to {int(indices.max())}"
            )
        if general is not None and general.shape != indices.shape[:1]:
            raise ValueError(
                f"a plan for {say_count(len(indices), 'request')} must state for each whether it "
                f"uses the general expert, found {tuple(general.shape)}"
            )
        self.num_requests = len(indices)
        self.is_base_only = not bool(weights.any()) and (general is None or not bool(general.any()))
        self._combine = combine
        indices, weights = _leave_out_zeros(indices, weights)
        self.used, local = _narrow(indices, num_experts)
        """The experts that any request uses: a slice if they are adjacent, else ``[U]``; None for all."""
        # Padding has request -1, so its row is the last one, with weights 0.
        self._indices, self._weights, self._local = map(_add_row, (indices, weights, local))
        self._general: Tensor | None = None
        if general is not None and not bool(general.all()):
            self._general = _add_row(general[:, None].to(weights.dtype))
        self._last: tuple[Tensor, Choice] | None = None

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Return the experts of each token's request; see ``Chooser``."""
        if self.is_base_only:
            return None
        if torch.compiler.is_compiling():
            # Without a subset, since a compiled graph must serve any experts in use.
            return Choice(
                self._indices.to(rows.device)[rows],
                self._weights.to(rows.device)[rows],
                self._combine,
                general=self._spread_general(rows),
            )
        last = self._last
        # All layers of a call pass the same tensor of rows, so the choice is computed once per call.
        if last is None or last[0] is not rows:
            last = self._last = rows, self._spread(rows)
        return last[1]

    def _spread(self, rows: Tensor) -> Choice:
        """Return the plan's entries for tokens with these requests ``[T]``."""
        indices, weights, local = (
            table.to(rows.device)[rows] for table in (self._indices, self._weights, self._local)
        )
        subset = None if self.used is None else Subset(self.used, local)
        return Choice(indices, weights, self._combine, subset, self._spread_general(rows))

    def _spread_general(self, rows: Tensor) -> Tensor | None:
        return None if self._general is None else self._general.to(rows.device)[rows, 0]


class Nobody:
    """A ``Chooser`` of no experts: only the general expert is active, if the model's experts build on one."""

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Return a choice with weight 0; see ``Chooser``."""
        indices = torch.zeros(len(x), 1, dtype=torch.int64, device=x.device)
        return Choice(indices, x.new_zeros(len(x), 1))


def _add_row(table: Tensor) -> Tensor:
    return torch.cat([table, table.new_zeros(1, table.shape[1])])


def _leave_out_zeros(indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Reduce K to the largest number of nonzero weights in a row, since a router may return all experts."""
    counts = weights != 0
    if weights.requires_grad or bool(counts.all()):
        return indices, weights
    longest = max(int(counts.sum(-1).max()), 1)
    order = (~counts).to(torch.int8).argsort(dim=-1, stable=True)[..., :longest]
    indices, weights = indices.gather(-1, order), weights.gather(-1, order)
    # Padding of shorter rows repeats the row's first expert, so that no further expert counts as used.
    return indices.where(weights != 0, indices[..., :1]), weights


def _narrow(indices: Tensor, num_experts: int) -> tuple[slice | Tensor | None, Tensor]:
    """Return the experts in use (None: all), and the indices renumbered among them."""
    used, local = indices.unique(return_inverse=True)
    if len(used) == num_experts:
        return None, indices
    first = int(used[0]) if len(used) else 0
    if len(used) and int(used[-1]) - first + 1 == len(used):
        # A slice of the stacks is a view: no copy in forward, a cheap gradient in backward.
        return slice(first, first + len(used)), local
    return used, local
