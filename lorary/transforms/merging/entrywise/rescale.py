"""How entries that an expert keeps are rescaled after others were dropped.

Shape letters: I layer input, B rows of a block.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.sparsify import Sparsify

RescaleTo = Literal["mean", "norm"]
"""``mean``: each entry is divided by the probability that it is kept, which leaves its mean over seeds as it
was (the papers' way). ``norm``: all kept entries of a layer are multiplied by one number, so that their
magnitudes add up to what all entries' did (mergekit's way)."""


def rescale_draw(
    blocks: LayerBlocks, make_sparsify: Callable[[bool], Sparsify], rescale: bool, rescale_to: RescaleTo
) -> Sparsify:
    """Rescale entries that are kept at random.

    Args:
        blocks: the layer.
        make_sparsify: makes what draws the entries; told whether to divide them by their probability.
        rescale: whether to rescale at all.
        rescale_to: what rescaling keeps.
    """
    if rescale and rescale_to == "norm":
        return keep_norm(blocks, lambda: make_sparsify(False))
    return make_sparsify(rescale)


def keep_norm(blocks: LayerBlocks, make_sparsify: Callable[[], Sparsify]) -> Sparsify:
    """Multiply what each expert keeps so that the sum of its magnitudes in the layer stays what it was.

    Args:
        blocks: the layer, which is gone through once more to measure.
        make_sparsify: makes what chooses the entries, each time with the same choice.
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
