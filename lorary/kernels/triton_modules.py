"""Triton's side of the kernels, by name: not everywhere, and slow to import, so it waits until needed."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from lorary.kernels.operators import TrainingOperators


@cache
def import_triton(part: str) -> Any:
    """Import ``lorary.kernels.triton_<part>``; afterwards that takes no time, since layers ask at every call.

    Raises:
        ImportError: if there is no Triton.
    """
    return import_module(f"lorary.kernels.triton_{part}")


def is_triton_for(x: Tensor) -> bool:
    """Return whether there are Triton operators for tensors like this one."""
    return find_spec("triton") is not None and bool(import_triton("device").is_triton_for(x))


def load_triton() -> TrainingOperators:
    """Give Triton's operators, imported when they are first asked for."""
    operators: TrainingOperators = import_triton("ops")
    return operators
