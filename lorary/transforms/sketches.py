"""Experts as rows of numbers whose inner products are nearly those of their weight changes.

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
    """Measure every layer of every expert along random directions, reading one expert after the other.

    Layers of one shape share their directions. That leaves the inner products right in the mean, and their
    errors nearly as small as with directions of each layer's own, unless an expert changes many layers alike.

    Args:
        experts: a library or any other mapping.
        names: the experts, in the order of the answer's rows.
        paths: the modules that any of them changes.
        size: S; a layer's change becomes S² numbers.
        on_progress: called with the number of experts done and of all.

    Returns:
        ``[E, L S²]``, float32; a layer that an expert leaves alone is zero.

    Raises:
        IncompatibleExpert: if two experts disagree on the shape of a layer.
        FormatError: if an expert's weights are not finite.
    """
    column = {path: number for number, path in enumerate(paths)}
    rows = torch.zeros(len(names), len(paths), size**2)
    for layers, where, a, b in batch_factors(experts, names, on_progress):
        # A seed for each shape [O, I].
        seed = a.shape[-1] << 32 | b.shape[-2]
        sketches = sketch_pairs(a.flatten(0, 1), b.flatten(0, 1), size, seed).unflatten(0, a.shape[:2])
        rows[where, [column[path] for path in layers]] = sketches.transpose(0, 1).float().cpu()
    for name, row in zip(names, rows, strict=True):
        if not row.isfinite().all():
            raise FormatError(
                f"an expert's weights must be finite, but expert {name!r} has NaN or infinite ones: train it "
                "again or leave it out"
            )
    return rows.flatten(1)
