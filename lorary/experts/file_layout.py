"""The layout of tensors in a safetensors file, parsed once for all files with the same header.

Most experts of a library have the same configuration, so their files have the same header.
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
"""Device, inode, size and times of a file, which change if the file is replaced or written."""

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
# Limits the number of values of a tensor, so that its size in bytes does not overflow.
MOST_NUMBERS = 2**56
MOST_DIMENSIONS = 8


@dataclass(frozen=True, eq=False)
class FileLayout:
    """Shapes and dtypes of a safetensors file's tensors; one object for all files with the same header."""

    outlines: Mapping[str, Tensor]
    """Tensor name -> tensor on the meta device, in the file's order."""
    dtype: torch.dtype | None
    """The dtype of all values, if the file can be read as one flat tensor; else None."""
    start: int
    """Offset of the first value, in bytes."""


@dataclass(frozen=True)
class Header:
    """The header of a file; files with equal headers and sizes have the same layout."""

    content: bytes
    """The JSON bytes between the length of the header and the values."""
    num_bytes: int
    """Size of the whole file."""
    path: str = field(compare=False)
    """Path of one such file."""
    identity: Identity = field(compare=False)
    """Identity of that file."""


def read_header(file: BinaryIO, path: str) -> Header:
    """Read the header of an opened local file without checking it; see ``cut_header``."""
    status = os.fstat(file.fileno())
    return Header(cut_header(file, status.st_size, path), status.st_size, path, identify(status))


def cut_header(file: BinaryIO, num_bytes: int, path: str) -> bytes:
    """Read the JSON bytes of the header; return nothing if the file is shorter than its header.

    Args:
        file: the opened file, at its beginning.
        num_bytes: size of the whole file.
        path: path of the file, for messages.

    Raises:
        FormatError: if the header is longer than the limit.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > num_bytes:
        return b""
    if length > LIMITS["header_mb"].num_bytes:
        raise FormatError(f"the header of {quote(path)} is too long: {LIMITS['header_mb'].advice}")
    return file.read(length)


@lru_cache(maxsize=64)
def parse_layout(header: Header) -> FileLayout:
    """Parse the header of safetensors files.

    Raises:
        ValueError: if the header is not valid or does not match the size of the file.
    """
    outlines, num_bytes = _lay_out(header.content)
    start = 8 + len(header.content)
    if start + num_bytes != header.num_bytes:
        raise ValueError(
            f"its tensors must have {say_count(num_bytes, 'byte')}, found {header.num_bytes - start:,}"
        )
    dtypes = {outline.dtype for outline in outlines.values()}
    is_flat = len(dtypes) == 1 and dtypes <= set(DTYPES) and start < header.num_bytes
    dtype = dtypes.pop() if is_flat else None
    return FileLayout(outlines, None if dtype is None or start % dtype.itemsize else dtype, start)


def _lay_out(content: bytes) -> tuple[dict[str, Tensor], int]:
    """Parse a header: its tensors in the file's order, and their total number of bytes."""
    if content[:1] != b"{":
        raise ValueError("it has no header")
    # Counting braces, one per tensor, limits the work before the JSON is parsed.
    if content.count(b"{") - 2 > LIMITS["tensor_count"].value:
        raise ValueError(f"it has too many tensors: {LIMITS['tensor_count'].advice}")
    tensors = parse_json_object(content, "header")
    tensors.pop("__metadata__", None)
    found = sorted((_read_place(name, tensor), name) for name, tensor in tensors.items())
    outlines, end = {}, 0
    for (begin, stop), name in found:
        outline = _outline(name, tensors[name])
        if begin != end or stop - begin != outline.nbytes:
            raise ValueError(f"tensor {quote(name, 80)} does not begin where the previous tensor ends")
        outlines[name], end = outline, stop
    return outlines, end


def _read_place(name: str, tensor: Any) -> tuple[int, int]:
    place = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if not _are_counts(place) or len(place) != 2:
        raise ValueError(f"tensor {quote(name, 80)} has no valid data_offsets")
    return place[0], place[1]


def _outline(name: str, tensor: dict[str, Any]) -> Tensor:
    shape, dtype = tensor.get("shape"), tensor.get("dtype")
    if not isinstance(dtype, str) or dtype not in STORED_DTYPES:
        raise ValueError(f"tensor {quote(name, 80)} has unknown dtype {quote(dtype, 40)}")
    if not _are_counts(shape) or len(shape) > MOST_DIMENSIONS or _multiply(shape) > MOST_NUMBERS:
        raise ValueError(f"tensor {quote(name, 80)} has invalid shape {quote(shape, 80)}")
    return torch.empty(shape, dtype=STORED_DTYPES[dtype], device="meta")


def _multiply(shape: list[int]) -> int:
    return math.prod(max(length, 1) for length in shape)


def _are_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(count) is int and count >= 0 for count in value)


def identify(status: os.stat_result) -> Identity:
    """Return the identity of a file, which differs for other files and after changes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
