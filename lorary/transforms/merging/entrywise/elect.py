"""Combining the entries of several experts, by a sum or by the election of a sign.

Shape letters: I layer input, O layer output, B rows of a block.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.sparsify import Sparsify


class Election(Protocol):
    """Combines the experts' entries of one block."""

    def add(self, block: Tensor, weight: float) -> None:
        """Add one expert's block ``[B, I]``, which is overwritten."""
        ...

    def result(self) -> Tensor:
        """Return the merged block, ``[B, I]``."""
        ...


class WeightedSum:
    """The weighted sum of all entries: ``sum_e w_e x_e``."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, block: Tensor, weight: float) -> None:
        """Add one expert's block."""
        weighted = block.mul_(weight)
        self._sum = weighted if self._sum is None else self._sum.add_(weighted)

    def result(self) -> Tensor:
        """Return the sum."""
        assert self._sum is not None
        return self._sum


class AgreeingEntries:
    """The sum or mean of the entries that have the elected sign, which is the sign of the weighted sum.

    An expert with a negative weight is added with its entries negated and the absolute weight. If the sum is
    exactly zero, the result is zero. Zero entries do not count in a mean.

    Args:
        normalize: divide by the sum of the weights of entries with the elected sign, for a mean.
        votes: weight of each added block in the election, in order; None for its weight in the sum.
    """

    def __init__(self, normalize: bool, votes: Sequence[float] | None = None):
        self._normalize = normalize
        self._votes = None if votes is None else list(votes)
        self._sums: list[Tensor] | None = None

    def add(self, block: Tensor, weight: float) -> None:
        """Add one expert's block."""
        if self._sums is None:
            self._sums = [block.new_zeros(block.shape) for _ in range(5)]
        elected, positive, total, signed_weight, weight_sum = self._sums
        if weight < 0:
            block.neg_()
        size = abs(weight)
        elected.add_(block, alpha=size if self._votes is None else self._votes.pop(0))
        total.add_(block, alpha=size)
        positive.add_(block.relu(), alpha=size)
        if self._normalize:
            # Signs instead of comparisons: converting Boolean masks to floats takes ten times as long.
            sign = block.sign_()
            signed_weight.add_(sign, alpha=size)
            weight_sum.add_(sign.abs_(), alpha=size)

    def result(self) -> Tensor:
        """Return the sums or means of the entries that have the elected sign."""
        assert self._sums is not None
        elected, positive, total, signed_weight, weight_sum = self._sums
        is_positive, is_negative = elected > 0, elected < 0
        # The negative entries' sum is the total minus the positive entries' sum.
        merged = positive.where(is_positive, total.sub_(positive)).masked_fill_(elected == 0, 0.0)
        if not self._normalize:
            return merged
        # Weights of positive entries: (sum of weights + signed sum) / 2; of negative ones: the difference.
        agreeing = weight_sum.add_(signed_weight.where(is_positive, -signed_weight)).div_(2)
        return merged.div_(agreeing.masked_fill_(~(is_positive | is_negative) | (agreeing <= 0), 1.0))


def merge_blocks(
    blocks: LayerBlocks, sparsify: Sparsify, weights: Sequence[float], make_election: Callable[[], Election]
) -> Tensor:
    """Merge a layer block by block.

    Args:
        blocks: the layer.
        sparsify: chooses the entries that each expert keeps.
        weights: one weight per expert.
        make_election: makes an election, which combines one block of all experts.

    Returns:
        The merged weight change, ``[O, I]``.
    """
    merged = blocks.empty()
    for rows in blocks.iterate_rows():
        election = make_election()
        for expert, weight in enumerate(weights):
            election.add(sparsify(expert, blocks.form(expert, rows)), weight)
        merged[rows] = election.result()
    return merged
