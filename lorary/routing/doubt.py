"""The part of a request that goes to the fallback because no expert stands out.

Shape letters: B requests, E experts, K experts kept per request.
"""

import torch
from torch import Tensor

from lorary.routing.configs.calibrated import Fallback

RIVAL = 3
"""Place (from 0) of the score that the best score is compared with: several similar experts may all be right,
so the best is compared with the fourth and not with the second."""


def trust_margin(scores: Tensor, margin: float, dead_zone: float = 0.0) -> Tensor:
    """Compute how clearly the best expert stands out, relative to a margin.

    Args:
        scores: ``[B, E]``; a NaN counts as the worst.
        margin: difference between the best and the fourth score for a trust of 1.
        dead_zone: part of the margin up to which the trust is 0, from 0 and below 1.

    Returns:
        Trust from 0 to 1, ``[B, 1]``; 1 if there are fewer than four experts.
    """
    if scores.shape[1] <= RIVAL:
        return torch.ones_like(scores[:, :1])
    finite = torch.nan_to_num(scores, nan=torch.finfo(scores.dtype).min)
    best = finite.topk(RIVAL + 1, dim=1).values
    return (((best[:, :1] - best[:, RIVAL:]) / margin - dead_zone) / (1 - dead_zone)).clamp(0, 1)


def fall_back_on_all(
    indices: Tensor, weights: Tensor, trust: Tensor, num_experts: int, spread: float
) -> tuple[Tensor, Tensor]:
    """Give the kept experts the trusted part of each request, and all experts equal parts of the rest.

    Args:
        indices: the kept experts, ``[B, K]``.
        weights: their weights, ``[B, K]``.
        trust: the trusted part, ``[B, 1]``.
        num_experts: E.
        spread: sum of all experts' weights in a request without any trust.

    Returns:
        Indices ``[B, E]`` and weights ``[B, E]``.
    """
    shape = len(indices), num_experts
    everyone = (1 - trust) * spread / num_experts
    shared = everyone.expand(shape).scatter_add(1, indices, trust * weights)
    return torch.arange(num_experts, device=indices.device).expand(shape), shared


def fall_back_on_general(
    indices: Tensor, weights: Tensor, trust: Tensor, general: int
) -> tuple[Tensor, Tensor]:
    """Give the kept experts the trusted part of each request, and the general expert the rest.

    Args:
        indices: the kept experts, ``[B, K]``.
        weights: their weights, ``[B, K]``.
        trust: the trusted part, ``[B, 1]``.
        general: the general expert's index.

    Returns:
        Indices ``[B, K + 1]`` and weights ``[B, K + 1]``; the general expert is the last.
    """
    column = torch.full_like(indices[:, :1], general)
    return torch.cat([indices, column], 1), torch.cat([trust * weights, (1 - trust).to(weights)], 1)


def resolve_fallback(fallback: Fallback, has_general: bool, stands_on_general: bool) -> Fallback:
    """Return what a router falls back on, on a model with or without a general expert.

    Args:
        fallback: the option.
        has_general: whether there is a general expert that is used only if it is chosen.
        stands_on_general: whether all experts build on a general one, which is always on.
    """
    if fallback != "general" or has_general:
        return fallback
    # Where no expert is chosen, only the general expert remains.
    return "base" if stands_on_general else "all"
