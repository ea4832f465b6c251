"""DELLA: drop entries at random, small ones with a higher probability."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lorary.files import quote
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect_or_add import elect_or_add
from lorary.transforms.merging.entrywise.rescale import RescaleTo, rescale_draw
from lorary.transforms.merging.entrywise.sparsify import drop_by_rank
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class DellaConfig:
    """Options of ``della``."""

    density: float = 0.5
    """Mean probability that an entry is kept."""
    epsilon: float = 0.15
    """Half the difference between the probabilities of a row's largest and smallest entry."""
    elect: Literal["sign", "sum"] = "sign"
    """Merge the entries that have the elected sign, or add all."""
    rescale: bool = True
    """Rescale the kept entries."""
    rescale_to: RescaleTo = "mean"
    """Quantity that rescaling preserves: each entry's mean over seeds, or a layer's sum of magnitudes."""
    normalize: bool | None = None
    """For sign: mean instead of sum. For sum: divide the weights by their sum. None: only for sign."""
    seed: int = 0
    """Random seed, combined with the module's path and the expert's name."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self, check_chances(self.density, self.epsilon))


def check_chances(density: float, epsilon: float) -> Iterator[str]:
    """Yield a fault if a probability is not in (0, 1]; at density 1 all entries are kept for any epsilon."""
    is_whole = density == 1 and epsilon < 1
    if not (epsilon >= 0 and density - epsilon > 0 and (density + epsilon <= 1 or is_whole)):
        yield (
            "density - epsilon must be above 0, density + epsilon at most 1 (or density 1), and epsilon at "
            f"least 0, found density {quote(density)} and epsilon {quote(epsilon)}"
        )


def merge_della(layer: MergeLayer, config: DellaConfig) -> Tensor:
    """Drop entries with a probability that decreases with the rank of their magnitude in the row, then merge.

    It works on entries of the weight changes (space ``delta``), of their cores (``core``) or of the factors
    (``factors``, with cross terms). It is exact except for the final truncation. The default weight is
    ``1 / E``. At density 1 the merge of one expert is that expert.

    Raises:
        ValueError: if the weights are divided by their sum, and it is zero.

    Source: DELLA-Merging, arXiv:2406.11617.
    """
    blocks = LayerBlocks(layer)
    densities, epsilons = layer.spread("density", config.density), layer.spread("epsilon", config.epsilon)
    sparsify = rescale_draw(
        blocks,
        lambda divide: drop_by_rank(layer, densities, epsilons, config.seed, divide),
        config.rescale,
        config.rescale_to,
    )
    return elect_or_add(layer, blocks, sparsify, config.elect, config.normalize).mul_(config.scale)
