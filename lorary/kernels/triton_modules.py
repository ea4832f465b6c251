"""Triton's side of the kernels, by name: not everywhere available and slow, so imported when needed."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from lorary.kernels.operators import TrainingOperators


@cache
def import_triton(part: str) -> Any:
    """Import ``lorary.kernels.triton_<part>``; later calls take no time, since layers ask at every call.

    Raises:
        ImportError: if there is no Triton.
    """
    return import_module(f"lorary.kernels.triton_{part}")


def is_triton_for(x: Tensor) -> bool:
    """Return whether there are Triton operators for tensors like this one."""
    return find_spec("triton") is not None and bool(import_triton("device").is_triton_for(x))


def load_triton() -> TrainingOperators:
    """Return Triton's operators, which are imported at the first call."""
    operators: TrainingOperators = import_triton("ops")
    return operators
