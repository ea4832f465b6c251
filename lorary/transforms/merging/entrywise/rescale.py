"""Rescaling the entries that an expert keeps, to compensate for the dropped ones.

Shape letters: I layer input, B rows of a block.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.sparsify import Sparsify

RescaleTo = Literal["mean", "norm"]
"""``mean``: each entry is divided by the probability that it is kept, so its mean over seeds is unchanged (as
in the papers). ``norm``: all kept entries of a layer are multiplied by one number, so that the sum of their
magnitudes is that of all entries (as in mergekit)."""


def rescale_draw(
    blocks: LayerBlocks, make_sparsify: Callable[[bool], Sparsify], rescale: bool, rescale_to: RescaleTo
) -> Sparsify:
    """Rescale entries that are kept at random.

    Args:
        blocks: the layer.
        make_sparsify: makes the function that draws the entries; its argument says whether that function
            divides them by their probability.
        rescale: whether to rescale.
        rescale_to: the quantity that rescaling preserves.
    """
    if rescale and rescale_to == "norm":
        return keep_norm(blocks, lambda: make_sparsify(False))
    return make_sparsify(rescale)


def keep_norm(blocks: LayerBlocks, make_sparsify: Callable[[], Sparsify]) -> Sparsify:
    """Rescale the entries that each expert keeps, so that the sum of magnitudes in the layer is unchanged.

    Args:
        blocks: the layer; its blocks are computed one more time to measure them.
        make_sparsify: makes the function that chooses the entries; all must make the same choice.
    """
    measured = make_sparsify()
    factors = []
    for expert in range(blocks.num_experts):
        before = after = 0.0
        for rows in blocks.iterate_rows():
            block = blocks.form(expert, rows)
            before += block.abs().sum().item()
            after += measured(expert, block).abs().sum().item()
        factors.append(before / after if after else 1.0)
    sparsify = make_sparsify()

    def rescale(expert: int, block: Tensor) -> Tensor:
        return sparsify(expert, block).mul_(factors[expert])

    return rescale
