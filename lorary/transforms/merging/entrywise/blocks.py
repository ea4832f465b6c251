"""The weight changes of one layer's experts, formed a block of rows at a time.

Shape letters: R rank, I layer input, O layer output, B rows of a block.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lorary.transforms.merging.layer import MergeLayer

# Numbers in one block, 1 MB in float32: a few of them stay in a core's cache through all steps of a method.
_BLOCK_NUMEL = 2**18


class LayerBlocks:
    """Blocks ``D_e[rows] = b_e[rows] @ a_e`` of the experts' weight changes, formed when asked for."""

    def __init__(self, layer: MergeLayer):
        """Look at the experts of one layer; nothing is computed yet."""
        self.layer = layer
        self.outputs, self.inputs = layer.shape

    @property
    def num_experts(self) -> int:
        """E."""
        return len(self.layer.pairs)

    def iterate_rows(self) -> Iterator[slice]:
        """Give the rows of each block, first to last."""
        step = max(1, _BLOCK_NUMEL // self.inputs)
        for begin in range(0, self.outputs, step):
            yield slice(begin, min(begin + step, self.outputs))

    def form(self, expert: int, rows: slice) -> Tensor:
        """Form one expert's block, ``[B, I]``; it is the caller's to change."""
        a, b = self.layer.pairs[expert]
        return b[rows] @ a

    def form_whole(self, expert: int) -> Tensor:
        """Form one expert's whole weight change, ``[O, I]``, to the digit equal to its blocks."""
        whole = self.empty()
        for rows in self.iterate_rows():
            whole[rows] = self.form(expert, rows)
        return whole

    def empty(self) -> Tensor:
        """Make room for a weight change, ``[O, I]``."""
        return torch.empty(self.outputs, self.inputs, dtype=self.layer.dtype)
