"""Calibration of experts at one layer, from the layer's inputs on sampled tokens of generic requests.

All numbers are computed in rank space: an expert's output on generic tokens has a covariance of rank R.

E experts, R rank, I layer input, S sampled tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lorary.facts.token_sample import TokenSample
from lorary.routing.calibrated import whiten_readings


class LayerCalibration(NamedTuple):
    """What the calibrated router needs to know of a layer, float32."""

    whiteners: Tensor
    """``[E, R, R]``, see ``whiten_readings``."""
    offsets: Tensor
    """``[E, R]``, see ``whiten_readings``."""
    means: Tensor
    """Of a request's average logarithm of deviations, over generic requests, ``[E]``."""
    deviations: Tensor
    """The standard deviation of the same, ``[E]``."""


@torch.no_grad()
def calibrate_layer(
    a: Tensor,
    roots: Tensor,
    x: Tensor,
    center: Tensor,
    sample: TokenSample,
    ridges: Tensor,
    last_share: float,
) -> LayerCalibration:
    """Calibrate experts at one layer.

    Args:
        a: down-projections, ``[E, R, I]``.
        roots: roots of ``bᵀb``, ``[E, R, R]``, from ``compute_norm_roots``.
        x: the layer's inputs on the sampled tokens, less ``center``, ``[S, I]``, float32.
        center: the mean of the layer's inputs over the sampled tokens, ``[I]``, float32.
        sample: the sampled tokens of the generic requests.
        ridges: of each expert, ``[E]``, see ``whiten_readings``.
        last_share: weight of a request's last token.
    """
    experts, rank, width = a.shape
    wide = a.reshape(experts * rank, width).float()
    weights = sample.token_weights.to(a.device)
    readings = (wide @ x.T).unflatten(0, (experts, rank))  # [E, R, S]
    # Without their mean, the products can be summed in float32.
    shift = readings @ weights  # [E, R]
    readings -= shift[..., None]
    covariance = (readings * weights) @ readings.mT  # [E, R, R]
    mean = (wide @ center.to(a.device)).unflatten(0, (experts, rank)) + shift
    whiteners, offsets = whiten_readings(roots, mean, covariance, ridges.to(a.device))
    # Faster than a norm over the middle dimension.
    lengths = (whiteners.mT @ readings).square_().sum(1).sqrt_()  # [E, S]
    logs = lengths.clamp_min_(torch.finfo(torch.float32).tiny).log_()
    means, deviations = sample.summarise(logs, last_share)
    return LayerCalibration(whiteners, offsets, means, deviations)
