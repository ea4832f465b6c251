"""Safetensors files: memory-mapped from a local disk, read whole from any other storage."""

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import safetensors.torch
import torch
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lorary.errors import FormatError

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"
# The first bytes of torch.save's zip archive and of a plain pickle.
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
# Safetensors' names of the dtypes that factors have.
FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


class StoredTensors(NamedTuple):
    """What a safetensors file holds, on the CPU."""

    tensors: dict[str, Tensor]
    """Tensor name -> tensor."""
    blocks: list[Tensor]
    """The same numbers in as few tensors as possible, none of them empty, to go through them quickly."""


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
    before = os.stat(path)
    with safe_open(path, framework="pt") as file:
        names = file.offset_keys()
        slices = [file.get_slice(name) for name in names]
        dtypes = {one.get_dtype() for one in slices}
        dtype = FLOATS.get(dtypes.pop()) if len(dtypes) == 1 else None
        shapes = [one.get_shape() for one in slices]
        lengths = [math.prod(shape) for shape in shapes]
        # A file ends with its tensors' numbers, in this order and without gaps: safetensors has checked that.
        start = before.st_size - sum(lengths) * (dtype.itemsize if dtype else 0)
        if dtype is None or sum(lengths) == 0 or start % dtype.itemsize:
            return _keep_apart({name: file.get_tensor(name) for name in names})
    size = min(before.st_size, os.stat(path).st_size)
    mapped = torch.from_file(path, shared=False, size=size, dtype=torch.uint8)
    if _identify(os.stat(path)) != _identify(before):
        raise FormatError(f"{path!r} was replaced while it was read: read it again")
    block = mapped[start:].view(dtype)
    parts = zip(names, block.split(lengths), shapes, strict=True)
    return StoredTensors({name: part.view(shape) for name, part, shape in parts}, [block])


def _keep_apart(tensors: dict[str, Tensor]) -> StoredTensors:
    return StoredTensors(tensors, [tensor for tensor in tensors.values() if tensor.numel()])


def _identify(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


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
