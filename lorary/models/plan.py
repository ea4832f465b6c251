"""Which experts a batch uses, decided before the model runs.

B rows of a batch, L row length, T tokens = B×L, K experts per token, E experts.
"""

import torch
from torch import Tensor


class Plan:
    """The experts of each sequence or of each token, fixed before the model runs.

    Args:
        indices: experts, ``[B, K]`` for whole sequences or ``[B, L, K]`` for tokens.
        weights: their weights, of the same shape; 0 means the base model alone.
        num_experts: E, to leave out stacks that no token uses.

    Raises:
        ValueError: if shapes disagree or an index is out of range.
    """

    def __init__(self, indices: Tensor, weights: Tensor, num_experts: int):
        if indices.shape != weights.shape or indices.dim() not in (2, 3):
            raise ValueError(
                "a plan takes indices and weights of one shape, [B, K] or [B, L, K]; "
                f"found {tuple(indices.shape)} and {tuple(weights.shape)}"
            )
        if indices.is_floating_point() or indices.is_complex() or not weights.is_floating_point():
            raise ValueError(
                f"a plan takes whole indices and floating weights, found {indices.dtype} and {weights.dtype}"
            )
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < num_experts:
            raise ValueError(f"a plan's indices must lie in [0, {num_experts})")
        self.is_base_only = not bool(weights.any())
        self._indices, self._weights = _leave_out_zeros(indices, weights)
        self.used, self._local = _narrow(self._indices, num_experts)
        """The experts that any row uses: neighbours as a slice, else ``[U]``; None for all."""

    @property
    def top_k(self) -> int:
        """K."""
        return self._indices.shape[-1]

    def per_token(self, shape: torch.Size, narrow: bool = False) -> tuple[Tensor, Tensor]:
        """Spread the plan over the tokens of a layer's input.

        Args:
            shape: the input's shape without its features, ``[B, L]``.
            narrow: number the experts among those ``used``, for stacks of these alone.

        Returns:
            Indices and weights, ``[T, K]``.

        Raises:
            ValueError: if the batch is not the one that was planned.
        """
        rows = self._indices.shape[0]
        if shape[0] != rows or (self._indices.dim() == 3 and shape[1] != self._indices.shape[1]):
            raise ValueError(
                f"the plan was made for {tuple(self._indices.shape[:-1])} (sequences, tokens), "
                f"this batch has {tuple(shape)}: give one expert per sequence of the batch"
            )
        indices = self._local if narrow else self._indices
        return self._spread(indices, shape), self._spread(self._weights, shape)

    @staticmethod
    def _spread(values: Tensor, shape: torch.Size) -> Tensor:
        if values.dim() == 2:
            values = values[:, None, :].expand(shape[0], shape[1:].numel(), values.shape[1])
        return values.reshape(-1, values.shape[-1])


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
