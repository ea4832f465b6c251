"""How numbers lie in a safetensors file: understood once for all files that begin alike.

A library's experts mostly have one recipe, so their files differ in their numbers alone.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, BinaryIO, TypeGuard

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import DTYPES
from lorary.files import LIMITS, parse_json_object, quote, say_count

Identity = tuple[int, ...]
"""What changes when a file is replaced or written to."""

STORED_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
# A product of lengths beyond this would overflow where bytes are counted.
MOST_NUMBERS = 2**56
MOST_DIMENSIONS = 8


@dataclass(frozen=True, eq=False)
class FileLayout:
    """What a safetensors file says about its tensors; one object for all files with the same header."""

    outlines: Mapping[str, Tensor]
    """Tensor name -> a tensor of that shape and dtype without numbers, in the file's order."""
    dtype: torch.dtype | None
    """Of all numbers of the file, if they can be read as one flat tensor; else None."""
    start: int
    """The byte at which the numbers begin."""


@dataclass(frozen=True)
class Header:
    """The beginning of a file: where it is equal, so is the layout."""

    content: bytes
    """What lies between the length of the header and the numbers."""
    num_bytes: int
    """The size of the whole file."""
    path: str = field(compare=False)
    """One file that begins like this."""
    identity: Identity = field(compare=False)
    """That file's."""


def read_header(file: BinaryIO, path: str) -> Header:
    """Read the beginning of an opened local file; what it says is not checked; see ``cut_header``."""
    status = os.fstat(file.fileno())
    return Header(cut_header(file, status.st_size, path), status.st_size, path, identify(status))


def cut_header(file: BinaryIO, num_bytes: int, path: str) -> bytes:
    """Read what lies between the length of the header and the numbers; nothing if the file ends before.

    Args:
        file: opened, at its beginning.
        num_bytes: the size of the whole file.
        path: where it lies, for messages.

    Raises:
        FormatError: if the header is too long to be read.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > num_bytes:
        return b""
    if length > LIMITS["header_mb"].num_bytes:
        raise FormatError(f"{quote(path)} has too long a header: {LIMITS['header_mb'].advice}")
    return file.read(length)


@lru_cache(maxsize=64)
def parse_layout(header: Header) -> FileLayout:
    """Understand where the numbers lie in files that begin like this.

    Raises:
        ValueError: if it is no sound safetensors file, saying why.
    """
    outlines, num_bytes = _lay_out(header.content)
    start = 8 + len(header.content)
    if start + num_bytes != header.num_bytes:
        raise ValueError(
            f"its tensors take {say_count(num_bytes, 'byte')}, {header.num_bytes - start:,} are there"
        )
    dtypes = {outline.dtype for outline in outlines.values()}
    is_flat = len(dtypes) == 1 and dtypes <= set(DTYPES) and start < header.num_bytes
    dtype = dtypes.pop() if is_flat else None
    return FileLayout(outlines, None if dtype is None or start % dtype.itemsize else dtype, start)


def _lay_out(content: bytes) -> tuple[dict[str, Tensor], int]:
    """Understand a header: its tensors in the file's order, and how many bytes they take without gaps."""
    if content[:1] != b"{":
        raise ValueError("it has no header")
    # Each tensor has a brace of its own.
    if content.count(b"{") - 2 > LIMITS["tensor_count"].value:
        raise ValueError(f"it names too many tensors: {LIMITS['tensor_count'].advice}")
    tensors = parse_json_object(content, "header")
    tensors.pop("__metadata__", None)
    found = sorted((_read_place(name, tensor), name) for name, tensor in tensors.items())
    outlines, end = {}, 0
    for (begin, stop), name in found:
        outline = _outline(name, tensors[name])
        if begin != end or stop - begin != outline.nbytes:
            raise ValueError(f"tensor {quote(name, 80)} does not lie where the one before it ends")
        outlines[name], end = outline, stop
    return outlines, end


def _read_place(name: str, tensor: Any) -> tuple[int, int]:
    place = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if not _are_counts(place) or len(place) != 2:
        raise ValueError(f"tensor {quote(name, 80)} has no place in it")
    return place[0], place[1]


def _outline(name: str, tensor: dict[str, Any]) -> Tensor:
    shape, dtype = tensor.get("shape"), tensor.get("dtype")
    if not isinstance(dtype, str) or dtype not in STORED_DTYPES:
        raise ValueError(f"tensor {quote(name, 80)} is of an unknown dtype {quote(dtype, 40)}")
    if not _are_counts(shape) or len(shape) > MOST_DIMENSIONS or _multiply(shape) > MOST_NUMBERS:
        raise ValueError(f"tensor {quote(name, 80)} has the impossible shape {quote(shape, 80)}")
    return torch.empty(shape, dtype=STORED_DTYPES[dtype], device="meta")


def _multiply(shape: list[int]) -> int:
    return math.prod(max(length, 1) for length in shape)


def _are_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(count) is int and count >= 0 for count in value)


def identify(status: os.stat_result) -> Identity:
    """Tell a file from others and from its earlier self."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
