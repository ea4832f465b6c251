"""Dense weight changes of one layer's experts, in blocks of rows.

Shape letters: R rank, I layer input, O layer output, B rows of a block.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lorary.transforms.merging.layer import MergeLayer

# Numbers in one block, 1 MB in float32: several blocks fit in a core's cache during all steps of a method.
_BLOCK_NUMEL = 2**18


class LayerBlocks:
    """Blocks ``D_e[rows] = b_e[rows] @ a_e`` of the experts' weight changes, each computed on request."""

    def __init__(self, layer: MergeLayer):
        """Take the factors of one layer; nothing is computed yet."""
        self.layer = layer
        self.outputs, self.inputs = layer.shape

    @property
    def num_experts(self) -> int:
        """Number of experts."""
        return len(self.layer.pairs)

    def iterate_rows(self) -> Iterator[slice]:
        """Yield the rows of each block, from first to last."""
        step = max(1, _BLOCK_NUMEL // self.inputs)
        for begin in range(0, self.outputs, step):
            yield slice(begin, min(begin + step, self.outputs))

    def form(self, expert: int, rows: slice) -> Tensor:
        """Compute one expert's block, ``[B, I]``; the caller may modify it."""
        a, b = self.layer.pairs[expert]
        return b[rows] @ a

    def form_whole(self, expert: int) -> Tensor:
        """Compute one expert's weight change, ``[O, I]``, bit-identical to its blocks."""
        whole = self.empty()
        for rows in self.iterate_rows():
            whole[rows] = self.form(expert, rows)
        return whole

    def empty(self) -> Tensor:
        """Return an uninitialised weight change, ``[O, I]``."""
        return torch.empty(self.outputs, self.inputs, dtype=self.layer.dtype)
