"""Statistics of experts' outputs while the base model reads generic requests.

E experts of a call, R rank, I layer input, T tokens.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from lorary.facts.reading import read_alone, read_averages
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.models import ExpertStack
from lorary.models.capture import capture_inputs
from lorary.routing.calibrated_router import DeviationMeter


class Moments(NamedTuple):
    """Mean and covariance of ``a x`` over tokens, at one layer."""

    mean: Tensor
    """``[E, R]``, float64."""
    covariance: Tensor
    """``[E, R, R]``, float64."""


@torch.no_grad()
def measure_readings(
    stack: ExpertStack,
    a: Mapping[str, Tensor],
    sequences: Sequence[Sequence[int]],
    *,
    tokens_per_pass: int = 2048,
) -> dict[str, Moments]:
    """Measure the mean and covariance of ``a x`` over the tokens of some texts, without each text's first.

    Args:
        stack: the experts on the model; they are switched off during these passes.
        a: module path -> down-projections ``[E, R, I]``, on the layer's device.
        sequences: token ids of the texts, at least two in each.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.

    Returns:
        Moments by module path.
    """
    sums = {
        path: torch.zeros(rows.shape[:2], dtype=torch.float64).to(rows.device) for path, rows in a.items()
    }
    products = {path: rows[..., None] * rows[:, None] for path, rows in sums.items()}

    def add(path: str, x: Tensor) -> None:
        if path in a:
            rows = a[path]
            # Summed in float64: the covariance is a difference of two large sums.
            readings = linear(x, rows.flatten(0, 1).to(x.dtype)).unflatten(-1, rows.shape[:2]).double()
            sums[path] += readings.sum(0)
            by_expert = readings.transpose(0, 1)  # [E, T, R]
            products[path] += by_expert.mT @ by_expert

    for members in cut_passes([len(ids) for ids in sequences], tokens_per_pass):
        requests = pad_prompts([sequences[index] for index in members], stack.model.device)
        mask = requests.inputs["attention_mask"].bool()
        # The first token's input is the same in every text, and far larger than the others.
        mask[:, 0] = False
        with capture_inputs(stack, mask, add):
            read_alone(stack, requests)
    count = sum(len(ids) - 1 for ids in sequences)
    means = {path: total / count for path, total in sums.items()}
    return {
        path: Moments(mean, products[path] / count - mean[..., None] * mean[:, None])
        for path, mean in means.items()
    }


def measure_deviations(
    stack: ExpertStack,
    meter: DeviationMeter,
    sequences: Sequence[Sequence[int]],
    *,
    tokens_per_pass: int = 2048,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Measure how strongly experts react to texts, as a mean and a standard deviation over the texts.

    Args:
        stack: the experts on the model; they are switched off during these passes.
        meter: measures the reaction to each token.
        sequences: token ids of the texts, at least two in each.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.

    Returns:
        Module path -> mean and standard deviation over the texts, ``[E]`` each, float32.
    """
    found: dict[str, list[Tensor]] = {path: [] for path in meter.places}
    for members in cut_passes([len(ids) for ids in sequences], tokens_per_pass):
        requests = pad_prompts([sequences[index] for index in members], stack.model.device)
        for path, averages in read_averages(stack, meter, requests).items():
            found[path].append(averages)
    texts = {path: torch.cat(rows) for path, rows in found.items()}
    return {path: (rows.mean(0), rows.std(0, correction=0)) for path, rows in texts.items()}
