"""PhatGOOSE: a token uses the experts whose trained gates are most similar to it.

Shape letters: T tokens, E experts, I layer input, K experts kept per token.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lorary.routing.configs.checks import check_choice, check_top_k, resolve_top_k
from lorary.routing.configs.phatgoose import DEFAULT_TOP_K, PhatgooseConfig
from lorary.routing.material import LayerMaterial
from lorary.routing.shown import show_options
from lorary.routing.top_k import keep_top_k


def standardise(rows: Tensor) -> Tensor:
    """Scale each row to zero mean and unit variance over its features.

    Args:
        rows: ``[*, I]``, of any floating dtype.

    Returns:
        ``[*, I]`` in float32. A row of equal numbers becomes zeros.
    """
    centred = rows.float() - rows.float().mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    return centred / deviation.clamp_min(torch.finfo(torch.float32).tiny)


def phatgoose_scores(x: Tensor, gates: Tensor) -> Tensor:
    """Score each expert for each token by ``x̄ · ū_e / sqrt(I)``, both standardised over their features.

    Args:
        x: layer inputs, ``[T, I]``. The product is computed in their dtype.
        gates: the experts' gates, already standardised, ``[E, I]``.

    Returns:
        Scores ``[T, E]`` in float32. An expert with a gate of zeros scores 0.

    Source: PhatGOOSE, arXiv:2402.05859.
    """
    return linear(standardise(x).to(x.dtype), gates.to(x.dtype)).float() / x.shape[-1] ** 0.5


class PhatgooseRouter(nn.Module):
    """One layer's PhatGOOSE router. Move it to the model's dtype; otherwise each call converts the gates.

    Args:
        gates: as trained, ``[E, I]``.
        top_k: K, the number of experts that each token keeps.
        temperature: divides the scores before the softmax.
        abstain: the base model's score, see `keep_top_k`.

    Raises:
        ValueError: if an option is out of range.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"gates": "EI"}

    gates: Tensor

    def __init__(self, gates: Tensor, *, top_k: int, temperature: float = 1.0, abstain: float | None = None):
        super().__init__()
        check_top_k(top_k, gates.shape[0])
        check_choice(temperature, abstain)
        self.register_buffer("gates", standardise(gates.detach()))
        self.top_k = top_k
        self.temperature = temperature
        self.abstain = abstain

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        return keep_top_k(phatgoose_scores(x, self.gates), self.top_k, self.temperature, self.abstain)

    def extra_repr(self) -> str:
        """Return the options for ``repr``, as ``print(model)`` does."""
        experts, inputs = self.gates.shape
        return show_options(self, num_experts=experts, in_features=inputs)


def build_phatgoose(config: PhatgooseConfig, material: LayerMaterial) -> PhatgooseRouter:
    """Build one layer's PhatGOOSE router.

    Raises:
        ValueError: if the material lacks gates, or has fewer experts than ``top_k``.
    """
    return PhatgooseRouter(
        material.take("gates"),
        top_k=resolve_top_k(config.top_k, material.num_experts, DEFAULT_TOP_K),
        temperature=config.temperature,
        abstain=config.abstain,
    )
