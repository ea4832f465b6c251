"""What experts' entries become when they meet: the second of the three axes of entry-wise merging.

Shape letters: I layer input, O layer output, B rows of a block.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.sparsify import Sparsify


class Election(Protocol):
    """Collects the experts' entries of one block."""

    def add(self, block: Tensor, weight: float) -> None:
        """Take one expert's block ``[B, I]``, not to be used again."""
        ...

    def result(self) -> Tensor:
        """Give the merged block, ``[B, I]``."""
        ...


class WeightedSum:
    """Adds all entries, whatever their sign: ``sum_e w_e x_e``."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, block: Tensor, weight: float) -> None:
        """Take one expert's block."""
        weighted = block.mul_(weight)
        self._sum = weighted if self._sum is None else self._sum.add_(weighted)

    def result(self) -> Tensor:
        """Give the sum."""
        assert self._sum is not None
        return self._sum


class AgreeingEntries:
    """Elects a sign for every entry, that of the weighted sum, and adds or averages those which have it.

    With a negative weight an expert counts with all its entries' signs turned. Where the sum is exactly zero,
    so is the result. Zeros neither vote nor count in an average.

    Args:
        normalize: divide by the sum of the weights that had the elected sign: a mean instead of a sum.
        votes: each added block's weight in the election, in order; None takes its weight in the sum.
    """

    def __init__(self, normalize: bool, votes: Sequence[float] | None = None):
        self._normalize = normalize
        self._votes = None if votes is None else list(votes)
        self._sums: list[Tensor] | None = None

    def add(self, block: Tensor, weight: float) -> None:
        """Take one expert's block."""
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
            # Signs are numbers already; comparisons would have to be turned into some, at ten times the cost.
            sign = block.sign_()
            signed_weight.add_(sign, alpha=size)
            weight_sum.add_(sign.abs_(), alpha=size)

    def result(self) -> Tensor:
        """Give the sums, or means, of the entries that have the elected sign."""
        assert self._sums is not None
        elected, positive, total, signed_weight, weight_sum = self._sums
        is_positive, is_negative = elected > 0, elected < 0
        merged = positive.where(is_positive, total.sub_(positive)).masked_fill_(elected == 0, 0.0)
        if not self._normalize:
            return merged
        agreeing = weight_sum.add_(signed_weight.where(is_positive, -signed_weight)).div_(2)
        return merged.div_(agreeing.masked_fill_(~(is_positive | is_negative) | (agreeing <= 0), 1.0))


def merge_blocks(
    blocks: LayerBlocks, sparsify: Sparsify, weights: Sequence[float], make_election: Callable[[], Election]
) -> Tensor:
    """Merge a layer block by block.

    Args:
        blocks: the layer.
        sparsify: which entries each expert keeps.
        weights: how much each expert counts.
        make_election: makes what collects one block of all experts.

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
