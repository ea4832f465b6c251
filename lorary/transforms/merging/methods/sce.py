"""SCE: select entries with a large variance, calculate weights, erase entries of the minority sign.

Shape letters: I layer input, O layer output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class SceConfig:
    """Options of ``sce``."""

    density: float = 0.1
    """Share of a layer's entries to select, those with the largest variance over the experts."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_sce(layer: MergeLayer, config: SceConfig) -> Tensor:
    """Select entries by variance over the experts, weight experts by energy, erase minority signs.

    An expert's weight is the sum of squares of its selected entries, times its given weight (default
    ``1 / E``). The sign of an entry is that of the experts' unweighted sum; the result is the weighted mean
    of the entries with this sign.

    It works on entries of the weight changes (space ``delta``), of their cores (``core``) or of the factors
    (``factors``, with cross terms). It is exact except for the final truncation. It needs at least two
    experts. If they are equal, no entry is selected, except at density 1, which selects all.

    Source: FuseChat, arXiv:2408.07990.
    """
    blocks = LayerBlocks(layer)
    selected = _select_varied(blocks, config.density)
    weights = [
        weight * energy
        for weight, energy in zip(layer.weights, _measure_energy(blocks, selected), strict=True)
    ]
    merged = blocks.empty()
    for rows in blocks.iterate_rows():
        # In the election of signs, all experts have the same weight.
        election = AgreeingEntries(normalize=True, votes=[1.0] * blocks.num_experts)
        for expert, weight in enumerate(weights):
            election.add(blocks.form(expert, rows).mul_(selected[rows]), weight)
        merged[rows] = election.result()
    return merged.mul_(config.scale)


def _select_varied(blocks: LayerBlocks, density: float) -> Tensor:
    """Return a mask ``[O, I]`` of the entries with the largest variance, of those with a nonzero variance."""
    variance = blocks.empty()
    if density >= 1:
        return torch.ones_like(variance, dtype=torch.bool)
    for rows in blocks.iterate_rows():
        variance[rows] = _measure_variance(blocks, rows)
    flat = variance.flatten()
    count = int(density * int(torch.count_nonzero(flat)))
    if count == 0:
        return torch.zeros_like(variance, dtype=torch.bool)
    place = flat.numel() - count
    ordered = flat.clone().numpy()
    ordered.partition(place)
    return variance >= float(ordered[place])


def _measure_variance(blocks: LayerBlocks, rows: slice) -> Tensor:
    """Compute E times the variance of each entry in a block of rows; exactly 0 if the experts are equal."""
    mean, size = blocks.form(0, rows), blocks.form(0, rows).square_()
    for expert in range(1, blocks.num_experts):
        block = blocks.form(expert, rows)
        mean.add_(block)
        size.add_(block.square_())
    mean.div_(blocks.num_experts)
    variance = torch.zeros_like(mean)
    for expert in range(blocks.num_experts):
        variance.add_(blocks.form(expert, rows).sub_(mean).square_())
    # A variance up to this can be the rounding error of equal numbers.
    smallest = (4 * torch.finfo(variance.dtype).eps) ** 2
    return variance.masked_fill_(variance <= smallest * size, 0.0)


def _measure_energy(blocks: LayerBlocks, selected: Tensor) -> list[float]:
    """Compute each expert's share of the sum of squares of all selected entries."""
    energies = [0.0] * blocks.num_experts
    for rows in blocks.iterate_rows():
        for expert in range(blocks.num_experts):
            chosen = blocks.form(expert, rows).mul_(selected[rows])
            energies[expert] += torch.linalg.vector_norm(chosen).item() ** 2
    total = sum(energies)
    return [energy / total if total else 1.0 for energy in energies]
