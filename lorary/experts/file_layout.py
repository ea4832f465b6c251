"""How numbers lie in a safetensors file: understood once for all files that begin alike.

A library's experts mostly have one recipe, so their files differ in their numbers alone.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import DTYPES

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
    """Read the beginning of an opened file; nothing is checked."""
    status = os.fstat(file.fileno())
    length = int.from_bytes(file.read(8), "little")
    content = file.read(length) if length <= status.st_size else b""
    return Header(content, status.st_size, path, identify(status))


@lru_cache(maxsize=64)
def find_layout(header: Header) -> FileLayout:
    """Find out where the numbers lie in files that begin like this.

    Raises:
        SafetensorError: if it is no sound safetensors file.
        FormatError: if the file was replaced since its header was read.
    """
    with safe_open(header.path, framework="pt") as file:
        outlines = {name: file.get_tensor(name).to("meta") for name in file.offset_keys()}
    if identify(os.stat(header.path)) != header.identity:
        raise FormatError(f"{header.path!r} was replaced while it was read: read it again")
    # A file ends with its tensors' numbers, in this order and without gaps: safetensors has checked that.
    start = header.num_bytes - sum(outline.nbytes for outline in outlines.values())
    dtypes = {outline.dtype for outline in outlines.values()}
    is_flat = len(dtypes) == 1 and dtypes <= set(DTYPES) and start < header.num_bytes
    dtype = dtypes.pop() if is_flat else None
    return FileLayout(outlines, None if dtype is None or start % dtype.itemsize else dtype, start)


def identify(status: os.stat_result) -> Identity:
    """Tell a file from others and from its earlier self."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
