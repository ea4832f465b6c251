"""Safetensors files: memory-mapped from a local disk, read whole from any other storage."""

from collections.abc import Mapping

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


def read_tensors(fs: AbstractFileSystem, path: str) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        fs: the file system it lies on; on a local one the tensors are views of the mapped file.
        path: the file's path there.

    Returns:
        Tensor name -> tensor, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        FormatError: if it is a pickle, truncated or damaged.
    """
    try:
        if isinstance(fs, LocalFileSystem):
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        return safetensors.torch.load(fs.cat_file(path))
    except SafetensorError as error:
        if fs.cat_file(path, start=0, end=4).startswith(PICKLE_STARTS):
            raise FormatError(f"{path!r} must be a safetensors file, found a pickle: {CONVERT}") from error
        raise FormatError(
            f"{path!r} must be a safetensors file, found it truncated or damaged ({error}): "
            "fetch or write the adapter again"
        ) from error


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
