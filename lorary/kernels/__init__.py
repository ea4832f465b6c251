"""Compiled operators for the hot paths of a routed model; each equals plain PyTorch code in another room."""

from lorary.kernels.cpu import (
    choose_along,
    choose_best,
    expand_rows,
    gather_rows,
    is_compiled_for,
    mix_rows,
    shrink_rows,
    sum_dtype,
)

__all__ = [
    "choose_along",
    "choose_best",
    "expand_rows",
    "gather_rows",
    "is_compiled_for",
    "mix_rows",
    "shrink_rows",
    "sum_dtype",
]
