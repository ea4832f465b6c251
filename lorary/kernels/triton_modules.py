"""Triton's side of the kernels, by name: not everywhere, and slow to import, so it waits until needed."""

from functools import cache
from importlib import import_module
from typing import Any


@cache
def import_triton(part: str) -> Any:
    """Import ``lorary.kernels.triton_<part>``; afterwards that takes no time, since layers ask at every call.

    Raises:
        ImportError: if there is no Triton.
    """
    return import_module(f"lorary.kernels.triton_{part}")
