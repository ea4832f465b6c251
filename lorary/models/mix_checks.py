"""Checks of ``mix``'s arguments, and conversion to the dtypes of its back ends.

E experts, R rank, I layer input, O layer output, T tokens, K experts per token.
"""

import torch
from torch import Tensor

from lorary.files import quote
from lorary.kernels.checks import sum_dtype

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def convert(
    x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, onto: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Convert all arguments to the dtypes of the back ends: int64, that of ``x``, and weights' ``sum_dtype``.

    Raises:
        ValueError: if one is not of the right kind, integer or floating-point; the message names it.
    """
    dtype, wide = x.dtype, sum_dtype(x.dtype)
    _check_real("x", x)
    if a.dtype is not dtype:
        a = _convert_real("a", a, dtype)
    if b_t.dtype is not dtype:
        b_t = _convert_real("b", b_t, dtype)
    if indices.dtype is not torch.int64:
        _check_integers("indices", indices)
        indices = indices.long()
    if weights.dtype is not wide:
        weights = _convert_real("weights", weights, wide)
    if onto is not None and onto.dtype is not dtype:
        onto = _convert_real("onto", onto, dtype)
    return x, a, b_t, indices, weights, onto


def check_kinds(*, x: Tensor, **others: Tensor | None) -> None:
    """Check types, devices, layouts and kinds of numbers of ``mix``'s arguments; shapes are not checked.

    ``onto`` and ``ranks`` may be None.

    Raises:
        TypeError: if an argument is not a tensor.
        ValueError: if one is sparse, nested, on another device than ``x``, or of another kind of number.
    """
    for name, tensor in {"x": x, **others}.items():
        if tensor is None and name in ("onto", "ranks"):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, found {quote(type(tensor).__name__)}")
        if tensor.device != x.device or tensor.layout is not torch.strided or tensor.is_nested:
            raise ValueError(
                f"mix needs dense tensors on one device, found x on {x.device} and {name} on {tensor.device} "
                f"({'nested' if tensor.is_nested else tensor.layout}): move it, or make it dense"
            )
        (_check_integers if name in ("indices", "ranks") else _check_real)(name, tensor)


def check_shapes(
    x: Tensor,
    a: Tensor,
    b: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    ranks: Tensor | None,
) -> None:
    """Check the shapes of ``mix``'s arguments.

    Raises:
        ValueError: if they disagree; the message has them.
    """
    if x.dim() != 2 or a.dim() != 3 or b.dim() != 3 or indices.dim() != 2:
        raise ValueError(
            "mix needs x [T, I], a [E, R, I], b [E, O, R], indices [T, K] and weights [T, K], found "
            + ", ".join(str(tuple(tensor.shape)) for tensor in (x, a, b, indices, weights))
        )
    if a.shape[2] != x.shape[1] or a.shape[0] != b.shape[0] or a.shape[1] != b.shape[2]:
        raise ValueError(
            "x [T, I], a [E, R, I] and b [E, O, R] must agree on I, E and R, found "
            f"{tuple(x.shape)}, {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if onto is not None and (onto.shape != (x.shape[0], b.shape[1]) or onto.dtype != x.dtype):
        raise ValueError(
            f"onto must be {(x.shape[0], b.shape[1])} in {x.dtype}, found {tuple(onto.shape)} in {onto.dtype}"
        )
    if ranks is not None and ranks.shape != a.shape[:1]:
        raise ValueError(f"ranks must be [{a.shape[0]}], one per expert, found {tuple(ranks.shape)}")
    if indices.shape != weights.shape or indices.shape[0] != x.shape[0]:
        raise ValueError(
            f"indices and weights must both be [T, K] with T = {x.shape[0]}, found {tuple(indices.shape)} "
            f"and {tuple(weights.shape)}"
        )


def _check_real(name: str, tensor: Tensor) -> None:
    if not tensor.dtype.is_floating_point:
        raise ValueError(f"{name} must have floating-point numbers, found {tensor.dtype}")


def _convert_real(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    _check_real(name, tensor)
    return tensor.to(dtype)


def _check_integers(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in INTEGERS:
        raise ValueError(f"{name} must have integers, found {tensor.dtype}")
