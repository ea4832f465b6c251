"""Safetensors files: memory-mapped from a local disk, read whole from any other storage."""

import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property

import safetensors.torch
import torch
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.file_layout import FileLayout, Header, find_layout, identify, read_header

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"
# The first bytes of torch.save's zip archive and of a plain pickle.
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")


class StoredTensors:
    """What a safetensors file holds, on the CPU.

    Args:
        layout: the file's.
        blocks: the file's numbers: one flat tensor if the layout has a dtype, else its tensors.
        header: of the mapped file that the one flat tensor is; else None.
    """

    def __init__(self, layout: FileLayout, blocks: list[Tensor], header: Header | None = None):
        self.layout = layout
        self.blocks = blocks
        self._file = None if header is None else (header.path, header.identity)

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

    def copy_block(self, out: Tensor) -> None:
        """Copy the one flat tensor of a file whose layout has a dtype into ``out [N]``.

        The file is read for it, if it is still what was mapped: numbers that are read through a mapping count
        as this process's memory for as long as it lasts.
        """
        if self._file is None or not _read_numbers(*self._file, self.layout.start, out):
            out.copy_(self.blocks[0])


def read_tensors(fs: AbstractFileSystem, path: str) -> StoredTensors:
    """Read a safetensors file.

    Args:
        fs: the file system it lies on; on a local one the tensors are views of the mapped file.
        path: the file's path there.

    Raises:
        FileNotFoundError: if there is no such file.
        FormatError: if it is a pickle, truncated or damaged.
    """
    try:
        if isinstance(fs, LocalFileSystem):
            return _map_file(path)
        return _keep_apart(safetensors.torch.load(fs.cat_file(path)))
    except SafetensorError as error:
        if fs.cat_file(path, start=0, end=4).startswith(PICKLE_STARTS):
            raise FormatError(f"{path!r} must be a safetensors file, found a pickle: {CONVERT}") from error
        raise FormatError(
            f"{path!r} must be a safetensors file, found it truncated or damaged ({error}): "
            "fetch or write the adapter again"
        ) from error


def _map_file(path: str) -> StoredTensors:
    """Map a local file: as one block where its tensors are all of one dtype, as adapters' are."""
    with open(path, "rb") as file:
        header = read_header(file, path)
        layout = find_layout(header)
        if layout.dtype is None:
            return _keep_apart(safetensors.torch.load_file(path))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return StoredTensors(layout, [torch.frombuffer(mapped, dtype=layout.dtype, offset=layout.start)], header)


def _keep_apart(tensors: dict[str, Tensor]) -> StoredTensors:
    outlines = {name: tensor.to("meta") for name, tensor in tensors.items()}
    return StoredTensors(FileLayout(outlines, None, 0), list(tensors.values()))


def _read_numbers(path: str, identity: tuple[int, ...], start: int, out: Tensor) -> bool:
    """Fill ``out`` from a file, from a byte on; tells whether that file was there and long enough."""
    rest = out.view(torch.uint8).numpy().data
    with suppress(OSError), open(path, "rb", buffering=0) as file:
        if identify(os.fstat(file.fileno())) != identity:
            return False
        file.seek(start)
        while rest and (count := file.readinto(rest)):
            rest = rest[count:]
    return not rest


def dump_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Write tensors as the bytes of a safetensors file; the same tensors give the same bytes."""
    # Copies, because safetensors refuses views that share memory, such as slices of one stack.
    copies = {name: _copy_to_cpu(tensor) for name, tensor in tensors.items()}
    return safetensors.torch.save(copies, metadata={"format": "pt"})


def _copy_to_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


CONVERT = (
    "a pickle can run code when opened, so lorary reads none; load it with PEFT where you trust it and save "
    "it with model.save_pretrained(folder, safe_serialization=True)"
)
