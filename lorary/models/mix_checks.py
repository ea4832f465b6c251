"""What ``mix`` may be given, and the dtypes that its back ends take.

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
    """Give all of them the dtypes that back ends take, where nothing but digits is lost.

    Raises:
        ValueError: naming what is of another kind.
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
    """Refuse what ``mix`` cannot take, whatever its shape; ``onto`` and ``ranks`` may be None.

    Raises:
        TypeError: naming what is no tensor.
        ValueError: naming what is sparse, on another device, or of another kind of number.
    """
    for name, tensor in {"x": x, **others}.items():
        if tensor is None and name in ("onto", "ranks"):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, found {quote(type(tensor).__name__)}")
        if tensor.device != x.device or tensor.layout is not torch.strided or tensor.is_nested:
            raise ValueError(
                f"mix takes dense tensors on one device, found x on {x.device} and {name} on {tensor.device} "
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
    """Refuse shapes that disagree, for ``mix``.

    Raises:
        ValueError: naming them.
    """
    if x.dim() != 2 or a.dim() != 3 or b.dim() != 3 or indices.dim() != 2:
        raise ValueError(
            "mix takes x [T, I], a [E, R, I], b [E, O, R], indices [T, K] and weights [T, K]; found "
            + ", ".join(str(tuple(tensor.shape)) for tensor in (x, a, b, indices, weights))
        )
    if a.shape[2] != x.shape[1] or a.shape[0] != b.shape[0] or a.shape[1] != b.shape[2]:
        raise ValueError(
            f"x {tuple(x.shape)}, a {tuple(a.shape)} and b {tuple(b.shape)} must agree on I, E and R"
        )
    if onto is not None and (onto.shape != (x.shape[0], b.shape[1]) or onto.dtype != x.dtype):
        raise ValueError(
            f"onto must be {(x.shape[0], b.shape[1])} in {x.dtype}, found {tuple(onto.shape)} in {onto.dtype}"
        )
    if ranks is not None and ranks.shape != a.shape[:1]:
        raise ValueError(f"ranks must be [{a.shape[0]}], one per expert, found {tuple(ranks.shape)}")
    if indices.shape != weights.shape or indices.shape[0] != x.shape[0]:
        raise ValueError(
            f"indices {tuple(indices.shape)} and weights {tuple(weights.shape)} must both be [T, K] "
            f"with T = {x.shape[0]}"
        )


def _check_real(name: str, tensor: Tensor) -> None:
    if not tensor.dtype.is_floating_point:
        raise ValueError(f"{name} must hold floating-point numbers, found {tensor.dtype}")


def _convert_real(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    _check_real(name, tensor)
    return tensor.to(dtype)


def _check_integers(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in INTEGERS:
        raise ValueError(f"{name} must hold integers, found {tensor.dtype}")
