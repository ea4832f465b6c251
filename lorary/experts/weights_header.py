"""The header of a safetensors file, checked before any tensor is made of it."""

from typing import Any

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.files import escape, find_limit, parse_json_object, quote, say_limit, shorten

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
MAX_DIMENSIONS = 8
MAX_SIZE = 2**40  # of one dimension: no layer's, and far from what overflows


def parse_header(content: bytes, path: str) -> dict[str, Tensor]:
    """Understand a header as far as names, shapes and dtypes; where numbers lie is for safetensors to check.

    Args:
        content: what lies between the length of the header and the numbers.
        path: the file, for messages.

    Returns:
        Tensor name -> a tensor of that shape and dtype without numbers.

    Raises:
        FormatError: if it is no header, names too many tensors, or one of a kind that is not read.
    """
    # Each tensor has a brace of its own.
    if content.count(b"{") - 2 > find_limit("tensor_count"):
        raise FormatError(f"{quote(path)} names too many tensors: {say_limit('tensor_count')}")
    try:
        described = parse_json_object(content, path)
    except FormatError as error:
        raise FormatError(say_damaged(path, error.__cause__ or error)) from error
    return {name: _outline(name, said, path) for name, said in described.items() if name != "__metadata__"}


def say_damaged(path: str, reason: object) -> str:
    """Say that a file is no sound safetensors file."""
    return (
        f"{quote(path)} must be a safetensors file, found it truncated or damaged "
        f"({shorten(escape(str(reason), keep=''))}): fetch or write the adapter again"
    )


def _outline(name: str, said: Any, path: str) -> Tensor:
    dtype = said.get("dtype") if isinstance(said, dict) else None
    shape = said.get("shape") if isinstance(said, dict) else None
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FormatError(
            f"{quote(path)}: tensor {quote(name)} must have a dtype among {', '.join(DTYPES)}, found "
            f"{quote(dtype, 60)}: save the adapter again in one of them"
        )
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise FormatError(
            f"{quote(path)}: tensor {quote(name)} must have at most {MAX_DIMENSIONS} dimensions, each below "
            f"2^40, found shape {quote(shape, 60)}: fetch or write the adapter again"
        )
    return torch.empty(shape, dtype=DTYPES[dtype], device="meta")


def _is_size(size: Any) -> bool:
    return type(size) is int and 0 <= size < MAX_SIZE
