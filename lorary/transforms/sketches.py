"""Random projections of experts, whose inner products approximate those of the weight changes.

Shape letters: E experts, L layers, I layer input, O layer output, S directions on a side.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts import Expert
from lorary.lowrank.sketch import sketch_pairs
from lorary.transforms.stacks import Progress, batch_factors


def sketch_experts(
    experts: Mapping[str, Expert],
    names: Sequence[str],
    paths: Sequence[str],
    size: int,
    on_progress: Progress | None = None,
) -> Tensor:
    """Project the weight change of each layer of each expert onto random directions.

    Layers of one shape use the same directions. The inner products stay unbiased, and their errors are nearly
    as small as with different directions for each layer, unless an expert changes many layers similarly.

    Args:
        experts: a library or any other mapping; they are read one after the other.
        names: the experts, in the order of the result's rows.
        paths: paths of all modules that at least one expert changes.
        size: S; a layer's weight change becomes S² numbers.
        on_progress: called with the number of experts done and of all experts.

    Returns:
        ``[E, L S²]``, float32, with zeros for layers that an expert does not change.

    Raises:
        IncompatibleExpert: if two experts have different shapes of a layer.
        FormatError: if an expert has NaN or infinite weights.
    """
    column = {path: number for number, path in enumerate(paths)}
    rows = torch.zeros(len(names), len(paths), size**2)
    for layers, where, a, b in batch_factors(experts, names, on_progress):
        # One seed per layer shape [O, I].
        seed = a.shape[-1] << 32 | b.shape[-2]
        sketches = sketch_pairs(a.flatten(0, 1), b.flatten(0, 1), size, seed).unflatten(0, a.shape[:2])
        rows[where, [column[path] for path in layers]] = sketches.transpose(0, 1).float().cpu()
    for name, row in zip(names, rows, strict=True):
        if not row.isfinite().all():
            raise FormatError(
                f"an expert's weights must be finite, but expert {name!r} has NaN or infinite values: train "
                "it again or leave it out"
            )
    return rows.flatten(1)
