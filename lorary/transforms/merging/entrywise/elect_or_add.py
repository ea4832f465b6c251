"""The last step of an entry-wise method: an election of signs, or a sum."""

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
    """Combine the entries that the experts keep.

    Args:
        layer: the layer.
        blocks: its weight changes.
        sparsify: chooses the entries that each expert keeps.
        elect: ``"sign"`` uses the entries that have the elected sign, ``"sum"`` adds all.
        normalize: for ``"sign"``, a mean instead of a sum (None: True); for ``"sum"``, divide the weights by
            their sum (None: False).

    Returns:
        The merged weight change, ``[O, I]``.

    Raises:
        ValueError: if the weights are divided by their sum, and it is zero.
    """
    if elect == "sum":
        return merge_blocks(
            blocks, sparsify, share_weights(layer) if normalize else layer.weights, WeightedSum
        )
    return merge_blocks(blocks, sparsify, layer.weights, lambda: AgreeingEntries(normalize is not False))
