"""How long merging a layer takes and how much memory, roughly: counted operations times this machine's speed.

Shape letters: E experts, S sum of the ranks, R rank after, I layer input, O layer output.
"""

import time
from typing import NamedTuple

import torch

from lorary.transforms.merging.job import MergeJob
from lorary.transforms.merging.survey import LayerOutline

# Blocks that the search for the leading directions of a wide matrix takes, about, on a hard one.
_NUM_BLOCKS = 20
# Multiplications of an eigenproblem of size n, in units of n^3, run at a fifth of a product's speed.
_EIGEN = 10 * 5
# Products in float64 run at half the speed of float32.
_DOUBLE = 2
# Widths up to which `compress_dense` and `compress` find all singular values.
_ALL_VALUES, _FROM_FACTORS = 320, 512


# Seconds that a layer takes however small it is, for calling functions alone.
_OVERHEAD = 2e-3


class Cost(NamedTuple):
    """What merging one layer takes."""

    operations: float
    """Floating-point operations, in those of a float32 product."""
    seconds: float
    """Time of what is no product, on one core."""
    num_bytes: float
    """Memory besides the experts' own factors."""


def estimate_layer(job: MergeJob, layer: LayerOutline, rank: int) -> Cost:
    """Estimate one layer.

    Args:
        job: the merge.
        layer: the layer's shapes.
        rank: R, the merged layer's, or the most it can have.
    """
    outputs, inputs, total = layer.outputs, layer.inputs, sum(layer.ranks)
    if job.space == "factors":
        return Cost(0.0, _OVERHEAD + 1e-8 * total * (inputs + outputs), 16.0 * total * (inputs + outputs))
    operations, held = 0.0, 8.0 * total * (inputs + outputs)
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
    # Thin products run at a third of the speed of square ones.
    return 3 * 4.0 * outputs * inputs * rank * _NUM_BLOCKS


def measure_speed() -> float:
    """Measure how many float32 operations per second products run at here, with the threads torch has."""
    matrix = torch.ones(512, 512)
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        matrix @ matrix
        best = max(best, 2 * 512**3 / (time.perf_counter() - begun))
    return best
