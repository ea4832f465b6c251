"""Checks and names that several kinds of parts share."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.experts.factors import DTYPES, name_dtypes
from lorary.experts.parts.contract import Claim
from lorary.experts.peft_keys import PREFIX, is_module_path


def claim_by(pattern: re.Pattern[str], name: str) -> Claim | None:
    """Return module and field of a name that ends with a pattern's match; None if it does not.

    Args:
        pattern: matches the name after the module's path, with a group ``field``.
        name: a tensor's name.
    """
    match = pattern.search(name)
    if match is None or not name.startswith(PREFIX):
        return None
    module = name[len(PREFIX) : match.start()]
    return Claim(module, match["field"]) if is_module_path(module) else None


def require_fields(tensors: Mapping[str, Tensor], shapes: Mapping[str, str]) -> None:
    """Check that a part's tensors are there, floating-point, not empty, and of the same sizes.

    Args:
        tensors: field -> tensor.
        shapes: field -> its sizes as letters; a letter stands for one number, "1" for one.

    Raises:
        ValueError: naming the first fault.
    """
    known: dict[str, int] = {"1": 1}
    for field, letters in shapes.items():
        tensor = tensors.get(field)
        if tensor is None:
            raise ValueError(f"it must have {field}, found {', '.join(tensors) or 'nothing'}")
        check_tensor(field, tensor)
        wanted = f"{field} must be [{', '.join(letters)}]"
        if tensor.ndim != len(letters):
            raise ValueError(f"{wanted}, found shape {list(tensor.shape)}")
        for letter, size in zip(letters, tensor.shape, strict=True):
            if known.setdefault(letter, size) != size:
                raise ValueError(f"{wanted} with {letter} = {known[letter]}, found {list(tensor.shape)}")


def check_tensor(field: str, tensor: Tensor) -> None:
    """Raise a ValueError if a tensor is not floating-point or is empty."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{field} must be a tensor, found {type(tensor).__name__}")
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{field} must be one of {name_dtypes()}, found {tensor.dtype}")
    if tensor.numel() == 0:
        raise ValueError(f"{field} must not be empty, found shape {list(tensor.shape)}")


def widen(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or in its own dtype if that is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
