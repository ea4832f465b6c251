"""What Triton's operators need to know about tensors and their device."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import triton.language as tl
from torch import Tensor

from lorary.kernels.checks import lay_out

P = ParamSpec("P")
R = TypeVar("R")

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
"""The dtypes that operators take."""
LAUNCH: dict[str, Any] = {"enable_fp_fusion": True}
"""How kernels are compiled: products and sums in one instruction, which Triton must be told."""
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton runs on the CPU, slowly."""


def is_triton_for(x: Tensor) -> bool:
    """Return whether these operators can take tensors like this one."""
    return x.dtype in DTYPES and (x.is_cuda or IS_INTERPRETED)


def lay_out_all(*tensors: Tensor | None) -> Iterator[Any]:
    """Bring tensors into the layout that kernels read; None stays None.

    Raises:
        ValueError: if they are not all on the first one's device, there are no operators for its dtype, or
            one is sparse or packed.
    """
    first = tensors[0]
    assert first is not None
    if first.dtype not in DTYPES:
        raise ValueError(f"there are Triton operators for {DTYPES}, not for {first.dtype}")
    device = first.device
    return (None if tensor is None else lay_out(tensor, device) for tensor in tensors)


def choose_wide(x: Tensor) -> tl.dtype:
    """Name the dtype of sums, as ``sum_dtype`` does, for a kernel."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def needs_widening(x: Tensor) -> bool:
    """Return whether numbers are converted to the dtype of sums before products, as in the interpreter."""
    return IS_INTERPRETED or x.dtype == torch.float64


def choose_precision(x: Tensor) -> str:
    """Return how a product of float32 numbers with numbers of ``x`` is computed.

    Numbers of 16 bits fit into TF32 exactly, and three products on tensor cores represent the others'
    float32; those of 32 bits are multiplied as such.
    """
    return "tf32x3" if x.dtype in (torch.bfloat16, torch.float16) else "ieee"


def on_its_device(operator: Callable[P, R]) -> Callable[P, R]:
    """Let an operator launch on the device of its first tensor, which need not be the current one."""

    @wraps(operator)
    def launch(*args: P.args, **options: P.kwargs) -> R:
        first = args[0] if args else None
        with torch.cuda.device_of(first) if isinstance(first, Tensor) else nullcontext():
            return operator(*args, **options)

    return launch
