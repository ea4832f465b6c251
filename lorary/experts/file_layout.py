"""How numbers lie in a safetensors file: understood once for all files that begin alike.

A library's experts mostly have one recipe, so their files differ in their numbers alone.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import DTYPES
from lorary.experts.weights_header import parse_header
from lorary.files import find_limit, quote, say_limit

MEGABYTE = 1_000_000
Identity = tuple[int, ...]
"""What changes when a file is replaced or written to."""


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
    """Read the beginning of an opened file; what it says is not checked; see ``read_header_bytes``."""
    status = os.fstat(file.fileno())
    return Header(read_header_bytes(file, status.st_size, path), status.st_size, path, identify(status))


def read_header_bytes(file: BinaryIO, num_bytes: int, path: str) -> bytes:
    """Read what lies between the length of the header and the numbers.

    Args:
        file: opened, at its beginning.
        num_bytes: the size of the whole file.
        path: the file, for messages.

    Raises:
        SafetensorError: if the file ends before that.
        FormatError: if the header is too long.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > num_bytes:
        raise SafetensorError("it ends before its header does")
    if length > find_limit("header_mb") * MEGABYTE:
        raise FormatError(f"{quote(path)} has too long a header: {say_limit('header_mb')}")
    return file.read(length)


@lru_cache(maxsize=64)
def find_layout(header: Header) -> FileLayout:
    """Find out where the numbers lie in files that begin like this.

    Raises:
        SafetensorError: if it is no sound safetensors file.
        FormatError: if it holds tensors that are not read, or was replaced since its header was read.
    """
    described = parse_header(header.content, header.path)
    with safe_open(header.path, framework="pt") as file:
        names = file.offset_keys()
    if identify(os.stat(header.path)) != header.identity:
        raise FormatError(f"{quote(header.path)} was replaced while it was read: read it again")
    outlines = {name: described[name] for name in names}
    # A file ends with its tensors' numbers, in this order and without gaps: safetensors has checked that.
    start = header.num_bytes - sum(outline.nbytes for outline in outlines.values())
    dtypes = {outline.dtype for outline in outlines.values()}
    is_flat = len(dtypes) == 1 and dtypes <= set(DTYPES) and start < header.num_bytes
    dtype = dtypes.pop() if is_flat else None
    return FileLayout(outlines, None if dtype is None or start % dtype.itemsize else dtype, start)


def identify(status: os.stat_result) -> Identity:
    """Tell a file from others and from its earlier self."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
