"""The chooser of experts that are known for each request, with separate weights for groups of layers.

P requests of a call, T tokens, K experts per request, G groups of layers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lorary.routing.contract import Choice


class BlockPlan:
    """A ``Chooser`` of given experts for each request, weighed separately in each group of layers.

    Args:
        indices: the experts of each request, ``[P, K]``.
        weights: their weights in each group, ``[P, G, K]``; 0 excludes an expert.
        find_group: module path -> number of its group.
        combine: ``"outputs"`` or ``"factors"``.

    Raises:
        ValueError: if shapes disagree.
    """

    def __init__(
        self, indices: Tensor, weights: Tensor, find_group: Callable[[str], int], combine: str = "outputs"
    ):
        if weights.dim() != 3 or indices.shape != weights[:, 0].shape:
            raise ValueError(
                "a plan with weights for groups of layers needs indices [P, K] and weights [P, G, K], found "
                f"{tuple(indices.shape)} and {tuple(weights.shape)}"
            )
        # Padding has request -1, so its row is the last one, with weights 0.
        self._indices = torch.cat([indices, indices.new_zeros(1, indices.shape[1])])
        self._weights = torch.cat([weights, weights.new_zeros(1, *weights.shape[1:])])
        self._find_group = find_group
        self._combine = combine

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Return the experts of each token's request, as weighed for the layer's group; see ``Chooser``."""
        own = self._weights[:, self._find_group(path)].to(rows.device)
        return Choice(self._indices.to(rows.device)[rows], own[rows], self._combine)
