"""The random ``a`` that a trained expert began with, drawn again from its seed.

R rank, I layer input.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.experts.expert import Expert
from lorary.experts.seeds import seed_for

START_SEED = "start_seed"
"""The key of a card's provenance that has the seed."""
_LARGEST = 2**63 - 1


def draw_start(seed: int, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Tensor]:
    """Draw ``a`` uniformly in ±1/√I, as PEFT does.

    Args:
        seed: see ``find_start_seed``.
        shapes: module path -> R and I, in the order of the model's modules, on which the values depend.

    Returns:
        Module path -> ``[R, I]``, float32 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        path: (torch.rand(rank, width, generator=generator) * 2 - 1) / math.sqrt(width)
        for path, (rank, width) in shapes.items()
    }


def find_start_seed(expert: Expert) -> int | None:
    """Return the seed of the random start that an expert's card tells; None if it tells none.

    Cards that earlier versions wrote have the run's seed, to be combined with the expert's name. So the seed
    is wrong if that expert was renamed since, or changed otherwise: compare the start with the expert.
    """
    provenance = expert.card.provenance
    known, training = provenance.get(START_SEED), provenance.get("training")
    if type(known) is int and 0 <= known <= _LARGEST:
        return known
    if "start" in provenance or not isinstance(training, Mapping) or type(training.get("seed")) is not int:
        return None
    return seed_for(training["seed"], "" if training.get("same_start") is True else expert.name)


def find_start_seeds(experts: Mapping[str, Expert]) -> dict[str, int]:
    """Return the seeds of those experts whose cards tell one, by name."""
    found = {name: find_start_seed(expert) for name, expert in experts.items()}
    return {name: seed for name, seed in found.items() if seed is not None}
