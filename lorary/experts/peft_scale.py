"""Folding PEFT's scale into ``b`` without rounding."""

import math

import torch
from torch import Tensor


def fold_scale(b: Tensor, scale: float) -> Tensor:
    """Multiply up-projections by PEFT's scale; the dtype is kept only if the product is exact in it.

    Args:
        b: stored up-projections, ``[..., O, R]``.
        scale: ``alpha / r``, or ``alpha / sqrt(r)``.

    Returns:
        ``scale * b``. It is ``b`` itself for scale 1; in ``b``'s dtype if the scale is a power of two and no
        value leaves the dtype's range; otherwise in float32 (float64 is kept).
    """
    if scale == 1:
        return b
    if math.frexp(abs(scale))[0] == 0.5:
        scaled = b * scale
        # float16 can overflow, or lose the last bits of its smallest numbers.
        if torch.equal(scaled / scale, b):
            return scaled
    return b.to(torch.promote_types(b.dtype, torch.float32)) * scale
