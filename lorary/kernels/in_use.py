"""Which operators are in use for tensors of a kind: C++, Triton's, or none."""

import torch
from torch import Tensor

from lorary.kernels import cpu, traced
from lorary.kernels.build import read_wish
from lorary.kernels.cpu import is_compiled_for
from lorary.kernels.operators import Operators
from lorary.kernels.triton_modules import import_triton, is_triton_for, load_triton


def find_operators(x: Tensor) -> Operators | None:
    """Find the operators in use for tensors like this one; None leaves all to plain PyTorch.

    C++ operators are used wherever they can be built, Triton's on CUDA devices that pass ``triton_check``.
    The environment variable ``LORARY_KERNELS`` may be ``0`` for none, or ``triton`` for Triton's without a
    check, also in its interpreter.

    Raises:
        ValueError: if it has another value.
    """
    if torch.compiler.is_compiling():
        return traced.OPERATORS[_choose_kind_for_graph(x.device.type, x.dtype)]
    kind = _choose_kind(x)
    return load_triton() if kind == "triton" else cpu if kind == "cpu" else None


@torch.compiler.assume_constant_result
def _choose_kind_for_graph(device: str, dtype: torch.dtype) -> str:
    """Read the environment outside a traced graph, which cannot read it."""
    return _choose_kind(torch.empty(0, device=device, dtype=dtype))


def _choose_kind(x: Tensor) -> str:
    wish = read_wish()
    if wish == "triton" and is_triton_for(x):
        return "triton"
    if x.is_cuda:
        return "triton" if wish != "0" and is_triton_for(x) and _is_triton_right_for(x) else "none"
    return "cpu" if is_compiled_for(x) else "none"


def _is_triton_right_for(x: Tensor) -> bool:
    return bool(import_triton("check").is_right_on(x.device, x.dtype))
