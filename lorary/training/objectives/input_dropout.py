"""Dropout of layer inputs for experts in training: which inputs an expert does not see in a step.

I layer input.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.experts.seeds import seed_for


class InputDropout:
    """Draws for each unit and step the inputs that its expert sees, as factors for the columns of ``a``.

    The draw depends on nothing but seed and step. So a resumed run draws the same, and neither other
    units nor the division of a batch into passes matter. PEFT draws for each token; here all tokens of a step
    have the same inputs.

    Args:
        rate: share of the inputs that are left out.
        widths: module path -> I.
        device: of the factors.
    """

    def __init__(self, rate: float, widths: Mapping[str, int], device: torch.device):
        self.rate, self.widths, self.device = rate, dict(widths), device
        self._drawn: dict[int, tuple[tuple[int, int], dict[str, Tensor]]] = {}

    def draw(self, slot: int, seed: int, step: int) -> dict[str, Tensor]:
        """Return the factors ``[I]`` of each layer: 0, or 1 / (1 - rate).

        Args:
            slot: the unit's slot; the last draw of each is kept for the step's other passes.
            seed: the unit's.
            step: number of steps taken.
        """
        known = self._drawn.get(slot)
        if known is not None and known[0] == (seed, step):
            return known[1]
        generator = torch.Generator().manual_seed(seed_for(seed, f"dropout of step {step}"))
        kept = torch.rand(sum(self.widths.values()), generator=generator) >= self.rate
        factors = (kept / (1 - self.rate)).to(self.device).split(list(self.widths.values()))
        found = dict(zip(self.widths, factors, strict=True))
        self._drawn[slot] = ((seed, step), found)
        return found
