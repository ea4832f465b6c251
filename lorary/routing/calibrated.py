"""Calibrated scores: how strongly experts react to a request, relative to generic requests.

Reactions of different experts are not comparable by themselves: one expert reacts strongly to every input,
another weakly. Therefore an expert's reaction to a request is compared with its reaction to generic requests,
at each layer.

Shape letters: T tokens, B requests, E experts, R rank, I layer input.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

SMALLEST_DEVIATION = 0.01
"""Smallest standard deviation, of logarithms, that scores are divided by: some layers react equally to all
generic requests, and dividing by their tiny deviation would make them dominate the mean over layers."""


def whiten_readings(
    roots: Tensor, mean: Tensor, covariance: Tensor, ridge: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Compute matrices that whiten experts' outputs by their covariance on generic tokens, in rank space.

    An expert's output ``b a x`` has the norm of ``rootᵀ a x``, whose covariance over generic tokens is
    ``S = rootᵀ C root``. The whitening matrix is ``whitener = root (S + ridge · trace(S))^-½``.

    Args:
        roots: roots of ``bᵀb``, ``[E, R, R]``, from `compute_norm_roots`; zeros where there is no expert.
        mean: of ``a x`` over generic tokens, ``[E, R]``.
        covariance: C, of ``a x`` over generic tokens, ``[E, R, R]``.
        ridge: above 0, for all experts or ``[E]``. The larger it is, the weaker the whitening; with a very
            large one only the norm of the expert's output counts.

    Returns:
        Whiteners ``[E, R, R]`` and offsets ``mean · whitener`` ``[E, R]``, both float32. Directions of
        largest variance come first, so that an expert of lower rank fills the first rows and columns. An
        expert with the same output for all generic tokens has zeros. The result does not depend on how a
        weight change is factorised, nor on zeros that pad R.
    """
    wide = roots.double()
    spread = wide.mT @ covariance.double() @ wide
    eigenvalues, eigenvectors = (found.flip(-1) for found in torch.linalg.eigh(spread))
    eigenvalues = eigenvalues.clamp_min(0)  # rounding makes some slightly negative
    total = eigenvalues.sum(-1, keepdim=True)  # [E, 1]
    floor = torch.as_tensor(ridge, dtype=torch.float64, device=total.device).reshape(-1, 1)  # [1 or E, 1]
    shrink = torch.where(total > 0, (eigenvalues + floor * total).rsqrt(), 0.0)
    whiteners = wide @ (eigenvectors * shrink[:, None, :])
    offsets = torch.einsum("er,ers->es", mean.double(), whiteners)
    return whiteners.float(), offsets.float()


def log_deviations(readings: Tensor, whiteners: Tensor, offsets: Tensor) -> Tensor:
    """Measure how strongly each expert reacts to each token, ``log |whitenerᵀ a x - offset|``.

    Args:
        readings: ``a x``, ``[T, E, R]``.
        whiteners: ``[E, R, R]``, from `whiten_readings`.
        offsets: ``[E, R]``, from `whiten_readings`.

    Returns:
        Logarithms ``[T, E]`` in float32; for a distance of 0, the logarithm of the smallest normal number.
    """
    lengths = (torch.einsum("ter,ers->tes", readings.float(), whiteners) - offsets).norm(dim=-1)
    return lengths.clamp_min(torch.finfo(torch.float32).tiny).log()


def compute_readings(x: Tensor, a: Tensor) -> Tensor:
    """Compute ``a x`` of each expert, in the inputs' dtype.

    Args:
        x: layer inputs, ``[T, I]``.
        a: down-projections, ``[E, R, I]``.

    Returns:
        ``[T, E, R]``.
    """
    return linear(x, a.flatten(0, 1).to(x.dtype)).unflatten(-1, a.shape[:2])


def average_layers(scores: Mapping[str, Tensor], has: Mapping[str, Tensor]) -> Tensor:
    """Average each expert's scores over the layers that it changes.

    Args:
        scores: module path -> scores ``[B, E]``, on the layer's device.
        has: module path -> whether each expert changes the layer, ``[E]``.

    Returns:
        Averages ``[B, E]``, on the first layer's device; 0 for an expert that changes no layer.
    """
    device = next(iter(scores.values())).device
    counted = torch.stack([has[path].to(device) for path in scores])  # [layers, E]
    found = torch.stack([rows.to(device) for rows in scores.values()])  # [layers, B, E]
    total = torch.where(counted[:, None], found, 0.0).sum(0)
    return total / counted.sum(0).clamp_min(1)
