"""Compiled operators for the hot paths of a routed model; each equals plain PyTorch code in another room.

``cpu`` is C++, built when first needed; ``triton_ops`` is Triton, for CUDA devices; ``traced`` is what
``torch.compile`` sees of either.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from lorary.kernels import cpu, traced
from lorary.kernels.build import read_wish
from lorary.kernels.cpu import is_compiled_for
from lorary.kernels.operators import Operators, TrainingOperators
from lorary.kernels.triton_modules import import_triton


def find_operators(x: Tensor) -> Operators | None:
    """Find the operators in use for tensors like this one; None leaves all to plain PyTorch.

    C++ operators are used wherever they can be built, Triton's on CUDA devices that pass ``triton_check``.
    The environment's ``LORARY_KERNELS`` may be ``0`` for none, or ``triton`` for Triton's without a check,
    also in its interpreter.

    Raises:
        ValueError: if it is anything else.
    """
    if torch.compiler.is_compiling():
        return traced.OPERATORS[_choose_kind_for_graph(x.device.type, x.dtype)]
    kind = _choose_kind(x)
    return load_triton() if kind == "triton" else cpu if kind == "cpu" else None


@torch.compiler.assume_constant_result
def _choose_kind_for_graph(device: str, dtype: torch.dtype) -> str:
    """Look at the environment for a graph that is traced, which cannot."""
    return _choose_kind(torch.empty(0, device=device, dtype=dtype))


def _choose_kind(x: Tensor) -> str:
    wish = read_wish()
    if wish == "triton" and is_triton_for(x):
        return "triton"
    if x.is_cuda:
        return "triton" if wish != "0" and is_triton_for(x) and _is_triton_right_for(x) else "none"
    return "cpu" if is_compiled_for(x) else "none"


def is_triton_for(x: Tensor) -> bool:
    """Tell whether there are Triton operators for tensors like this one."""
    return find_spec("triton") is not None and bool(import_triton("device").is_triton_for(x))


def _is_triton_right_for(x: Tensor) -> bool:
    return bool(import_triton("check").is_right_on(x.device, x.dtype))


def load_triton() -> TrainingOperators:
    """Give Triton's operators, imported when they are first asked for."""
    operators: TrainingOperators = import_triton("ops")
    return operators


__all__ = [
    "Operators",
    "TrainingOperators",
    "find_operators",
    "is_compiled_for",
    "is_triton_for",
    "load_triton",
]
