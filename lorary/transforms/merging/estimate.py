"""A rough estimate of the time and memory to merge a layer, from operation counts and the machine's speed.

Shape letters: E experts, S sum of the ranks, R rank after, I layer input, O layer output.
"""

import time
from typing import NamedTuple

import torch

from lorary.transforms.merging.job import MergeJob
from lorary.transforms.merging.survey import LayerOutline

# Approximate number of Krylov blocks for the leading directions of a large matrix that converges slowly.
_NUM_BLOCKS = 20
# An eigenproblem of size n needs about 10 n^3 multiplications, at a fifth of the speed of a matrix product.
_EIGEN = 10 * 5
# Matrix products in float64 run at half the speed of float32.
_DOUBLE = 2
# Largest sizes for which `compress_dense` and `compress` compute all singular values.
_ALL_VALUES, _FROM_FACTORS = 320, 512


# Seconds per layer for function calls, even if the layer is very small.
_OVERHEAD = 2e-3


class Cost(NamedTuple):
    """Estimated cost of merging one layer."""

    operations: float
    """Floating-point operations, weighted by their cost relative to those of a float32 matrix product."""
    seconds: float
    """Time of all other work, on one core."""
    num_bytes: float
    """Memory in addition to the experts' factors."""


def estimate_layer(job: MergeJob, layer: LayerOutline, rank: int) -> Cost:
    """Estimate the cost of merging one layer.

    Args:
        job: the merge.
        layer: the layer's shapes.
        rank: R, the rank of the merged layer, or its maximum.
    """
    outputs, inputs, total = layer.outputs, layer.inputs, sum(layer.ranks)
    if job.space == "factors":
        return Cost(0.0, _OVERHEAD + 1e-8 * total * (inputs + outputs), 16.0 * total * (inputs + outputs))
    operations, held = 0.0, 8.0 * total * (inputs + outputs)
    if job.recipe.pico:
        operations += _gram_operations(total, outputs)
    if job.space == "core":
        operations += _gram_operations(total, outputs + inputs) * 2
        outputs, inputs = min(total, outputs), min(total, inputs)
    entries = len(layer.ranks) * outputs * inputs
    if job.rules.entry_nanoseconds:
        operations += 4 * total * outputs * inputs + _cut_operations(outputs, inputs, rank)
        seconds = _OVERHEAD + 1e-9 * job.rules.entry_nanoseconds * entries
        return Cost(operations, seconds, held + 12.0 * outputs * inputs)
    if total <= min(_FROM_FACTORS, outputs, inputs):
        return Cost(operations + 2 * _gram_operations(total, outputs + inputs), _OVERHEAD, 2 * held)
    operations += 2 * total * outputs * inputs + _cut_operations(outputs, inputs, rank)
    return Cost(operations, _OVERHEAD, held + 12.0 * outputs * inputs)


def _gram_operations(size: int, width: int) -> float:
    return _DOUBLE * 2.0 * size**2 * width + _EIGEN * float(size) ** 3


def _cut_operations(outputs: int, inputs: int, rank: int) -> float:
    narrow = min(outputs, inputs)
    if narrow <= _ALL_VALUES or rank * 16 > narrow:
        return _DOUBLE * 2.0 * outputs * inputs * narrow + _EIGEN * float(narrow) ** 3
    # Products of a square and a thin matrix run at a third of the speed of square products.
    return 3 * 4.0 * outputs * inputs * rank * _NUM_BLOCKS


def measure_speed() -> float:
    """Measure the speed of float32 matrix products, in operations per second, with PyTorch's threads."""
    matrix = torch.ones(512, 512)
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        matrix @ matrix
        best = max(best, 2 * 512**3 / (time.perf_counter() - begun))
    return best
