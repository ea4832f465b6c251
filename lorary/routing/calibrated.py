"""Calibrated scores: how far a request goes beyond generic text, in the eyes of each expert.

Scores of different experts do not compare as they are: one expert answers every input strongly, another none.
So each is held against what it scores on generic text, layer by layer.

Shape letters: T tokens, B requests, E experts, R rank, I layer input.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

from lorary.routing.spectr import spectr_scores


def whiten_prototypes(
    prototypes: Tensor, mean: Tensor, covariance: Tensor, ridge: float
) -> tuple[Tensor, Tensor]:
    """Find the direction that tells an expert's inputs from generic ones, with generic ones spread by 1.

    With the regularised covariance ``M = C + ridge · mean(diag C)`` the direction is ``p = M⁻¹ v``, divided
    by ``sqrt(pᵀ C p)``, its standard deviation over generic inputs.

    Args:
        prototypes: v, unit rows ``[E, I]``; zeros for an expert without this layer.
        mean: of generic inputs, ``[I]``.
        covariance: C, of generic inputs, ``[I, I]``.
        ridge: above 0.

    Returns:
        Directions p ``[E, I]`` and offsets ``mean · p`` ``[E]``, both float32; zeros where v is zero, or
        where generic inputs do not differ at all.
    """
    v, c = prototypes.double(), covariance.double()
    size = ridge * c.diagonal().mean()
    if not size > 0:
        return torch.zeros_like(v, dtype=torch.float32), torch.zeros(len(v), device=v.device)
    regularised = c + size * torch.eye(len(c), dtype=c.dtype, device=c.device)
    p = torch.cholesky_solve(v.T, torch.linalg.cholesky(regularised)).T
    deviation = ((p @ c) * p).sum(-1, keepdim=True).clamp_min(0).sqrt()
    directions = torch.where(deviation > 0, p / deviation, 0.0)
    return directions.float(), (directions @ mean.double()).float()


def whitened_scores(x: Tensor, directions: Tensor, offsets: Tensor) -> Tensor:
    """Score each expert for each request by ``|(x - mean) · p_e|``.

    Args:
        x: the mean input of each request's tokens, ``[B, I]``.
        directions: p, ``[E, I]``, from `whiten_prototypes`.
        offsets: ``[E]``, likewise.

    Returns:
        Scores ``[B, E]`` in float32, at least 0, in standard deviations of a single generic input.
    """
    return (linear(x.float(), directions) - offsets).abs()


def log_lengths(x: Tensor, a: Tensor, roots: Tensor) -> Tensor:
    """Measure how strongly each expert answers each token, ``log |b_e a_e x|``.

    Args:
        x: layer inputs, ``[T, I]``.
        a: down-projections, ``[E, R, I]``.
        roots: of the up-projections, ``[E, R, R]``, from `find_norm_roots`.

    Returns:
        Logarithms ``[T, E]`` in float32; that of the smallest normal number where an expert adds nothing.
    """
    return spectr_scores(x, a, roots).clamp_min(torch.finfo(torch.float32).tiny).log()


def average_layers(scores: Mapping[str, Tensor], has: Mapping[str, Tensor]) -> Tensor:
    """Average scores ``[B, E]`` over those layers that an expert changes; without any it scores 0.

    Args:
        scores: by module path, each on its layer's device.
        has: module path -> whether each expert changes the layer, ``[E]``.
    """
    device = next(iter(scores.values())).device
    counted = torch.stack([has[path].to(device) for path in scores])  # [layers, E]
    found = torch.stack([rows.to(device) for rows in scores.values()])  # [layers, B, E]
    total = torch.where(counted[:, None], found, 0.0).sum(0)
    return total / counted.sum(0).clamp_min(1)
