"""The two ends that an entry-wise method can have: an election of signs, or a sum."""

from typing import Literal

from torch import Tensor

from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries, WeightedSum, merge_blocks
from lorary.transforms.merging.entrywise.sparsify import Sparsify
from lorary.transforms.merging.layer import MergeLayer
from lorary.transforms.merging.weights import share_weights


def elect_or_add(
    layer: MergeLayer,
    blocks: LayerBlocks,
    sparsify: Sparsify,
    elect: Literal["sign", "sum"],
    normalize: bool | None,
) -> Tensor:
    """Merge what experts keep of a layer.

    Args:
        layer: the layer.
        blocks: its weight changes.
        sparsify: which entries each expert keeps.
        elect: take the entries that have the elected sign, or add all.
        normalize: average what is elected, or divide the weights of the sum by their own sum; None averages
            what is elected and leaves sums alone.

    Returns:
        The merged weight change, ``[O, I]``.

    Raises:
        ValueError: if weights are to be divided by their sum, and it is zero.
    """
    if elect == "sum":
        return merge_blocks(
            blocks, sparsify, share_weights(layer) if normalize else layer.weights, WeightedSum
        )
    return merge_blocks(blocks, sparsify, layer.weights, lambda: AgreeingEntries(normalize is not False))
