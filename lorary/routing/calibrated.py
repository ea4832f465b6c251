"""Calibrated scores: how unusual a request is in the eyes of each expert, in units of generic requests.

Scores of different experts do not compare as they are: one expert answers every input strongly, another none.
So an expert's reaction to a request is compared with its reaction to generic requests, at each layer.

Shape letters: T tokens, B requests, E experts, R rank, I layer input.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

SMALLEST_DEVIATION = 0.01
"""Where generic requests hardly differ, so does their logarithm: no score is divided by less than this."""


def whiten_readings(roots: Tensor, mean: Tensor, covariance: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Measure the distance of ``a x`` from its mean on generic tokens, after whitening by their covariance.

    What an expert adds has the length of ``rootᵀ a x``. The covariance of that over generic tokens,
    ``S = rootᵀ C root``, is divided out: ``reader = root (S + ridge · trace(S))^-½``.

    Args:
        roots: of the up-projections, ``[E, R, R]``, from `compute_norm_roots`; zeros for no expert.
        mean: of generic readings ``a x``, ``[E, R]``.
        covariance: C, of generic readings, ``[E, R, R]``.
        ridge: above 0; a great one leaves the lengths of what the expert adds, but for their unit.

    Returns:
        Readers ``[E, R, R]`` and offsets ``mean · reader`` ``[E, R]``, both float32, the widest direction
        first, so that an expert of a lower rank fills the first rows and columns; zeros for an expert that
        adds the same to all generic tokens. Neither the factorisation nor zeros in R matter.
    """
    wide = roots.double()
    spread = wide.mT @ covariance.double() @ wide
    eigenvalues, eigenvectors = (found.flip(-1) for found in torch.linalg.eigh(spread))
    eigenvalues = eigenvalues.clamp_min(0)
    total = eigenvalues.sum(-1, keepdim=True)  # [E, 1]
    shrink = torch.where(total > 0, (eigenvalues + ridge * total).rsqrt(), 0.0)
    readers = wide @ (eigenvectors * shrink[:, None, :])
    offsets = torch.einsum("er,ers->es", mean.double(), readers)
    return readers.float(), offsets.float()


def log_deviations(x: Tensor, a: Tensor, readers: Tensor, offsets: Tensor) -> Tensor:
    """Measure how unusual each token is to each expert, ``log |readerᵀ a x - offset|``.

    Args:
        x: layer inputs, ``[T, I]``. The product with ``a`` runs in their dtype.
        a: down-projections, ``[E, R, I]``.
        readers: ``[E, R, R]``, from `whiten_readings`.
        offsets: ``[E, R]``, likewise.

    Returns:
        Logarithms ``[T, E]`` in float32; that of the smallest normal number where there is no difference.
    """
    readings = linear(x, a.flatten(0, 1).to(x.dtype)).unflatten(-1, a.shape[:2]).float()  # [T, E, R]
    lengths = (torch.einsum("ter,ers->tes", readings, readers) - offsets).norm(dim=-1)
    return lengths.clamp_min(torch.finfo(torch.float32).tiny).log()


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
