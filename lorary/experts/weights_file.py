"""Reading and writing safetensors files; local files are memory-mapped."""

import hashlib
import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from io import BytesIO
from typing import BinaryIO

import safetensors.torch
import torch
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.file_layout import (
    FileLayout,
    Header,
    Identity,
    cut_header,
    identify,
    parse_layout,
    read_header,
)
from lorary.files import LIMITS, escape, open_regular, quote, read_at_most

WEIGHTS_FILE = "adapter_model.safetensors"
# The first bytes of torch.save's zip archive and of a plain pickle.
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")


class StoredTensors:
    """The tensors of a safetensors file, on the CPU.

    Args:
        layout: layout of the file.
        blocks: values of the file: one flat tensor if the layout has a dtype, otherwise its tensors.
        source: header of the mapped file if ``blocks`` is one flat tensor, otherwise the SHA-256 of the file.
    """

    def __init__(self, layout: FileLayout, blocks: list[Tensor], source: Header | str):
        self.layout = layout
        self.blocks = blocks
        self._source = source

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Tensor name -> tensor, a view of a block."""
        outlines, parts = self.layout.outlines, self.blocks
        if self.layout.dtype is not None:
            parts = list(self.blocks[0].split([outline.numel() for outline in outlines.values()]))
        return {
            name: part.view(outline.shape)
            for part, (name, outline) in zip(parts, outlines.items(), strict=True)
        }

    @property
    def identity(self) -> Identity | None:
        """Identity of the mapped file when it was opened; None if the file is not mapped."""
        return self._source.identity if isinstance(self._source, Header) else None

    def is_unchanged(self) -> bool:
        """Return whether the path still has the mapped file, without changes."""
        if not isinstance(self._source, Header):
            return False
        with suppress(OSError):
            return identify(os.stat(self._source.path)) == self._source.identity
        return False

    def compute_hash(self, numbers: Tensor | None = None) -> str:
        """Return the SHA-256 of the file's bytes.

        Args:
            numbers: the file's values from ``copy_block``; None for the mapped values.
        """
        if not isinstance(self._source, Header):
            return self._source
        content, (block,) = self._source.content, self.blocks
        digest = hashlib.sha256(len(content).to_bytes(8, "little") + content)
        digest.update((block if numbers is None else numbers).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def copy_block(self, out: Tensor) -> bool:
        """Copy the N values of a file whose layout has a dtype into ``out [N]``.

        They are read from the file if it has not changed, because pages that are read through a mapping stay
        in this process's memory. Otherwise they are copied from the mapping.

        Returns:
            Whether they were read from the unchanged file.
        """
        source = self._source
        if isinstance(source, Header) and _read_numbers(source.path, source.identity, self.layout.start, out):
            return True
        out.copy_(self.blocks[0])
        return False


def read_tensors(fs: AbstractFileSystem, path: str) -> StoredTensors:
    """Read a safetensors file.

    Args:
        fs: the file system; on a local one the tensors are views of the mapped file.
        path: path of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        FormatError: if it is not a regular file, or a pickle, truncated, damaged or too large.
    """
    if isinstance(fs, LocalFileSystem):
        with open_regular(path) as file:
            return map_tensors(file, path)
    return load_tensors(read_at_most(path, "weights_mb", fs=fs), path)


def map_tensors(file: BinaryIO, path: str) -> StoredTensors:
    """Map an opened file as one block if all tensors have one dtype, as in adapters; otherwise read it.

    The system kills a process that reads values of a file which was truncated after it was mapped.

    Args:
        file: a regular local file, which may be closed afterwards.
        path: path of the file, for messages and for reading its values.

    Raises:
        FormatError: if it is a pickle, truncated or damaged.
    """
    header = read_header(file, path)
    try:
        layout = parse_layout(header)
    except (ValueError, FormatError) as error:
        file.seek(0)
        raise _explain(file.read(4), path, error) from error
    if layout.dtype is None:
        file.seek(0)
        # Not the limit itself, because read allocates the requested number of bytes.
        limit = LIMITS["weights_mb"]
        content = file.read(min(header.num_bytes, limit.num_bytes))
        if len(content) < header.num_bytes:
            raise FormatError(f"{quote(path)} cannot be mapped and is too large: {limit.advice}")
        return load_tensors(content, path)
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    block = torch.frombuffer(mapped, dtype=layout.dtype, offset=layout.start)
    return StoredTensors(layout, [block], header)


def load_tensors(content: bytes, path: str) -> StoredTensors:
    """Parse the bytes of a safetensors file; see ``map_tensors``."""
    header = cut_header(BytesIO(content), len(content), path)
    try:
        # First our own checks: safetensors accepts dtypes that PyTorch does not have.
        parse_layout(Header(header, len(content), path, ()))
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, FormatError) as error:
        raise _explain(content[:4], path, error) from error
    outlines = {name: tensor.to("meta") for name, tensor in tensors.items()}
    digest = hashlib.sha256(content).hexdigest()
    return StoredTensors(FileLayout(outlines, None, 0), list(tensors.values()), digest)


def _explain(start: bytes, path: str, error: Exception) -> FormatError:
    if start.startswith(PICKLE_STARTS):
        return FormatError(
            f"{quote(path)} must be a safetensors file, found a file by torch.save: rename it to "
            "adapter_model.bin"
        )
    return FormatError(
        f"{quote(path)} must be a safetensors file, found it truncated or damaged "
        f"({escape(str(error), keep='', longest=400)}): download or write the adapter again"
    )


def _read_numbers(path: str, identity: Identity, start: int, out: Tensor) -> bool:
    """Fill ``out`` from an offset of a file; return whether the file has this identity and enough bytes."""
    rest = out.view(torch.uint8).numpy().data
    # The path may now be another file, such as a named pipe: then neither wait nor fail.
    with suppress(OSError, FormatError), open_regular(path) as file:
        if identify(os.fstat(file.fileno())) != identity:
            return False
        os.lseek(file.fileno(), start, os.SEEK_SET)
        while rest and (count := os.readv(file.fileno(), [rest])):
            rest = rest[count:]
    return not rest


def dump_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the bytes of a safetensors file; equal tensors have equal bytes."""
    # Copies, because safetensors refuses tensors that share memory, such as slices of one stack.
    copies = {name: _copy_to_cpu(tensor) for name, tensor in tensors.items()}
    return safetensors.torch.save(copies, metadata={"format": "pt"})


def _copy_to_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
