"""``Factors``: the low-rank weight change of one layer, and its checks.

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
    """Describe the fault in types, dtypes and shapes of a module's factors, or return None; reads no values.

    Args:
        path: the module's path, for the message.
        pair: factors; they must be ``[R, I]`` and ``[O, R]``, floating-point and not empty.
    """
    if not isinstance(path, str) or not path:
        return f"module {quote(path)}: its path must be a string and not empty"
    if not isinstance(pair, Factors):
        return f"module {quote(path)}: it must have Factors(a, b), found {type(pair).__name__}"
    a, b = pair
    for letter, tensor in (("a", a), ("b", b)):
        if not isinstance(tensor, Tensor):
            return f"module {quote(path)}: {letter} must be a tensor, found {type(tensor).__name__}"
        if tensor.dtype not in DTYPES:
            return f"module {quote(path)}: {letter} must be one of {name_dtypes()}, found {tensor.dtype}"
        if tensor.ndim != 2 or tensor.numel() == 0:
            return (
                f"module {quote(path)}: {letter} must be 2-D and not empty, found shape {list(tensor.shape)}"
            )
    if a.shape[0] != b.shape[1]:
        return (
            f"module {quote(path)}: a [R, I] and b [O, R] must agree on the rank R, "
            f"found {list(a.shape)} and {list(b.shape)}"
        )
    return None


def is_finite(tensor: Tensor) -> bool:
    """Return whether all values of a tensor, which must not be empty, are finite."""
    # Minimum and maximum are NaN if any value is; one pass, without the mask of isfinite().all().
    return all(math.isfinite(bound.item()) for bound in tensor.aminmax())


def refuse_not_finite(name: str, factors: Mapping[str, Factors], file: str = "") -> None:
    """Check that all values of an expert are finite.

    Args:
        name: name of the expert, for the message.
        factors: module path -> factors.
        file: their file, for the message.

    Raises:
        FormatError: if a value is NaN or infinite, with its module.
    """
    for path, pair in factors.items():
        tensors = {
            f"{letter} of module {quote(path)}": tensor for letter, tensor in zip("ab", pair, strict=True)
        }
        refuse_tensors(name, tensors, file)


def refuse_tensors(name: str, tensors: Mapping[str, Tensor], file: str = "") -> None:
    """Check that all values of some tensors of an expert are finite.

    Args:
        name: name of the expert, for the message.
        tensors: which tensor, for the message -> the tensor.
        file: their file, for the message.

    Raises:
        FormatError: if a value is NaN or infinite, with the tensor.
    """
    where = f" in {quote(file)}" if file else ""
    for which, tensor in tensors.items():
        if not is_finite(tensor):
            count = int((~torch.isfinite(tensor)).sum())
            raise FormatError(
                f"weights of expert {name!r}{where} must be finite, found {count} of {tensor.numel()} NaN or "
                f"infinite in {which}: train it again or use an earlier checkpoint"
            )


def name_dtypes() -> str:
    """List the dtypes that factors may have, for messages."""
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
