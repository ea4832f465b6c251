"""One layer's pair of factors, and what must hold of it.

R rank, I layer input, O layer output.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.files import quote

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Factors(NamedTuple):
    """One layer's weight change ``b @ a``, with PEFT's scale folded into ``b``."""

    a: Tensor
    """Down-projection, ``[R, I]``."""
    b: Tensor
    """Up-projection, ``[O, R]``."""

    @property
    def rank(self) -> int:
        """R, the number of rows of ``a``."""
        return self.a.shape[0]


def find_factor_fault(path: str, pair: Factors) -> str | None:
    """Say what is wrong with one module's factors, or None; looks at no number.

    Args:
        path: the module's path, for the message.
        pair: factors that should be ``[R, I]`` and ``[O, R]``, floating and not empty.
    """
    if not isinstance(path, str) or not path:
        return f"module {quote(path)}: its path must be a string and not empty"
    if not isinstance(pair, Factors):
        return f"module {quote(path)}: it must have Factors(a, b), got {type(pair).__name__}"
    a, b = pair
    for letter, tensor in (("a", a), ("b", b)):
        if not isinstance(tensor, Tensor):
            return f"module {quote(path)}: {letter} must be a tensor, got {type(tensor).__name__}"
        if tensor.dtype not in DTYPES:
            return f"module {quote(path)}: {letter} must be one of {name_dtypes()}, got {tensor.dtype}"
        if tensor.ndim != 2 or tensor.numel() == 0:
            return f"module {quote(path)}: {letter} must be 2-D and not empty, got shape {list(tensor.shape)}"
    if a.shape[0] != b.shape[1]:
        return (
            f"module {quote(path)}: a [R, I] and b [O, R] must agree on the rank R, "
            f"got {list(a.shape)} and {list(b.shape)}"
        )
    return None


def is_finite(tensor: Tensor) -> bool:
    """Tell whether a tensor that is not empty holds neither NaN nor an infinity."""
    # The extremes are NaN if any number is: one pass, where isfinite().all() fills a tensor of flags.
    return all(math.isfinite(bound.item()) for bound in tensor.aminmax())


def refuse_not_finite(name: str, factors: Mapping[str, Factors], file: str = "") -> None:
    """Look through all numbers of an expert.

    Args:
        name: the expert's, for the message.
        factors: module path -> factors.
        file: where they were read from, for the message.

    Raises:
        FormatError: if one is NaN or infinite, naming the module.
    """
    where = f" in {quote(file)}" if file else ""
    for path, pair in factors.items():
        for letter, tensor in zip("ab", pair, strict=True):
            if not is_finite(tensor):
                count = int((~torch.isfinite(tensor)).sum())
                raise FormatError(
                    f"expert {name!r}{where} must hold finite numbers, found {count} NaN or infinite "
                    f"of {tensor.numel()} in {letter} of module {quote(path)}: train it again or take an "
                    "earlier checkpoint"
                )


def name_dtypes() -> str:
    """List the dtypes that factors may have, for messages."""
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
