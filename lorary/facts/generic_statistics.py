"""Statistics of experts' outputs while the base model reads generic requests.

E experts of a call, R rank, I layer input, T tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.facts.reading import read_alone, read_averages
from lorary.facts.requests import Requests, cut_passes, pad_prompts
from lorary.models import ExpertStack
from lorary.models.capture import capture_inputs
from lorary.routing.calibrated import compute_readings
from lorary.routing.calibrated_router import DeviationMeter


class Moments(NamedTuple):
    """Mean and covariance of ``a x`` over tokens, at one layer."""

    mean: Tensor
    """``[E, R]``, float64."""
    covariance: Tensor
    """``[E, R, R]``, float64."""


class KeptPass(NamedTuple):
    """The readings of one pass."""

    requests: Requests
    mask: Tensor
    """The tokens that were read, ``[B, L]``, N of them."""
    readings: dict[str, Tensor]
    """Module path -> ``a x``, ``[N, E, R]``, in the model's dtype."""


def count_kept_bytes(a: Mapping[str, Tensor], sequences: Sequence[Sequence[int]], dtype: torch.dtype) -> int:
    """Count the bytes of all readings of some texts, in the model's dtype."""
    per_token = sum(rows.shape[:2].numel() for rows in a.values()) * dtype.itemsize
    return per_token * sum(len(ids) - 1 for ids in sequences)


@torch.no_grad()
def measure_readings(
    stack: ExpertStack,
    a: Mapping[str, Tensor],
    sequences: Sequence[Sequence[int]],
    *,
    tokens_per_pass: int = 2048,
    keep: list[KeptPass] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Moments]:
    """Measure the mean and covariance of ``a x`` over the tokens of some texts, without each text's first.

    Args:
        stack: the experts on the model; they are switched off during these passes.
        a: module path -> down-projections ``[E, R, I]``, on the layer's device.
        sequences: token ids of the texts, at least two in each.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.
        keep: gets the readings of each pass, see `count_kept_bytes`; None keeps nothing.
        on_progress: called with the numbers of passes done and of all passes.

    Returns:
        Moments by module path.
    """
    sums = {
        path: torch.zeros(rows.shape[:2], dtype=torch.float64).to(rows.device) for path, rows in a.items()
    }
    products = {path: rows[..., None] * rows[:, None] for path, rows in sums.items()}

    def add(path: str, x: Tensor) -> None:
        if path in a:
            readings = compute_readings(x, a[path])
            if keep is not None:
                keep[-1].readings[path] = readings
            # Summed in float64: the covariance is a difference of two large sums.
            wide = readings.double()
            sums[path] += wide.sum(0)
            by_expert = wide.transpose(0, 1)  # [E, T, R]
            products[path] += by_expert.mT @ by_expert

    passes = cut_passes([len(ids) for ids in sequences], tokens_per_pass)
    for done, members in enumerate(passes, 1):
        requests = pad_prompts([sequences[index] for index in members], stack.model.device)
        mask = requests.inputs["attention_mask"].bool()
        # The first token's input is the same in every text, and far larger than the others.
        mask[:, 0] = False
        if keep is not None:
            keep.append(KeptPass(requests, mask, {}))
        with capture_inputs(stack, mask, add):
            read_alone(stack, requests)
        if on_progress is not None:
            on_progress(done, len(passes))
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
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Measure how strongly experts react to texts, as a mean and a standard deviation over the texts.

    Args:
        stack: the experts on the model; they are switched off during these passes.
        meter: measures the reaction to each token.
        sequences: token ids of the texts, at least two in each.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.
        on_progress: called with the numbers of passes done and of all passes.

    Returns:
        Module path -> mean and standard deviation over the texts, ``[E]`` each, float32.
    """
    found: dict[str, list[Tensor]] = {path: [] for path in meter.places}
    passes = cut_passes([len(ids) for ids in sequences], tokens_per_pass)
    for done, members in enumerate(passes, 1):
        requests = pad_prompts([sequences[index] for index in members], stack.model.device)
        for path, averages in read_averages(stack, meter, requests).items():
            found[path].append(averages)
        if on_progress is not None:
            on_progress(done, len(passes))
    return _summarise(found)


@torch.no_grad()
def measure_kept_deviations(
    meter: DeviationMeter, kept: Sequence[KeptPass]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Measure the same as `measure_deviations` from kept readings, without running the model again."""
    found: dict[str, list[Tensor]] = {path: [] for path in meter.places}
    for requests, mask, readings in kept:
        weights = requests.weigh_cells(meter.skips_first, meter.last_share)[:, mask.flatten()]
        for path, rows in readings.items():
            found[path].append(weights.to(rows.device) @ meter.describe_readings(path, rows))
    return _summarise(found)


def _summarise(averages: Mapping[str, Sequence[Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    texts = {path: torch.cat(list(rows)) for path, rows in averages.items()}
    return {path: (rows.mean(0), rows.std(0, correction=0)) for path, rows in texts.items()}
