"""Folding PEFT's scale into ``b`` without rounding anything."""

import math

import torch
from torch import Tensor


def fold_scale(b: Tensor, scale: float) -> Tensor:
    """Multiply up-projections by PEFT's scale, keeping their dtype only where that is exact.

    Args:
        b: up-projections as stored, ``[O, R]``.
        scale: ``alpha / r``, or ``alpha / sqrt(r)``.

    Returns:
        ``scale * b``, ``[O, R]``: ``b`` itself for scale 1; in ``b``'s dtype if the scale is a power of
        two and no number leaves the dtype's range; else in float32 (float64 stays).
    """
    if scale == 1:
        return b
    if math.frexp(abs(scale))[0] == 0.5:
        scaled = b * scale
        # float16 can overflow, or lose the last bits of its smallest numbers.
        if torch.equal(scaled / scale, b):
            return scaled
    return b.to(torch.promote_types(b.dtype, torch.float32)) * scale
