"""Calibration of one expert at one layer by its definition, in float64, as a reference for fast code."""

from typing import NamedTuple

import torch
from torch import Tensor


class Naive(NamedTuple):
    """The metric ``W Wᵀ`` of a whitener W, the generic mean ``a μ``, and two numbers over requests."""

    metric: Tensor
    mean: Tensor
    level: Tensor
    deviation: Tensor


def calibrate_naively(texts: list[Tensor], a: Tensor, b: Tensor, *, ridge: float, last_share: float) -> Naive:
    """Calibrate an expert on the layer's inputs for each text, ``[N, I]``, without their first token."""
    a, b = a.double(), b.double()
    readings = [x.double() @ a.T for x in texts]
    everything = torch.cat(readings)
    mean = everything.mean(0)
    covariance = (everything - mean).T @ (everything - mean) / len(everything)
    outputs = b @ covariance @ b.T
    eigenvalues, eigenvectors = torch.linalg.eigh(outputs)
    top = eigenvectors[:, -len(a) :]
    shrunk = eigenvalues[-len(a) :].clamp(min=0) + ridge * eigenvalues.sum()
    whitener = b.T @ top / shrunk.sqrt()
    averages = []
    for rows in readings:
        logs = ((rows - mean) @ whitener).norm(dim=1).log()
        averages.append((1 - last_share) * logs.mean() + last_share * logs[-1])
    found = torch.stack(averages)
    return Naive(whitener @ whitener.T, mean, found.mean(), found.std(correction=0))
