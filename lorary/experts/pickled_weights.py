"""Reading weights by `torch.save` with PyTorch's restricted unpickler, within limits.

`torch.load(weights_only=True)` creates only tensors and plain containers. Its memory is limited before: the
members of the archive must not be compressed, and their total size must be at most that of the archive.
"""

import warnings
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import DTYPES
from lorary.files import LIMITS, escape, quote

PICKLE_FILES = ("adapter_model.bin", "adapter_model.ckpt")
# Sparse changes have indices.
_INDICES = (torch.int32, torch.int64)
# Functions that PyTorch's unpickler also calls; with them a small pickle can allocate any amount of memory.
COSTLY = (b"cbuiltins\nbytearray\n", b"c__builtin__\nbytearray\n", b"c_codecs\nencode\n")


def load_pickled(content: bytes, path: str) -> dict[str, Tensor]:
    """Read a dictionary of tensors from the bytes of a file by `torch.save`.

    Args:
        content: the file's bytes.
        path: path of the file, for messages.

    Returns:
        Tensor name -> tensor; they do not share memory.

    Raises:
        FormatError: if it is not such a file, is damaged, has objects other than tensors, or exceeds limits.
    """
    _check_archive(content, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes can raise any exception in the unpickler
        raise _refuse(path, escape(str(error), keep="", longest=200)) from error
    tensors = value.get("state_dict", value) if isinstance(value, Mapping) else value
    if not isinstance(tensors, Mapping) or not tensors:
        raise _refuse(path, "it is not a dictionary of tensors")
    if len(tensors) > LIMITS["tensor_count"].value:
        raise FormatError(f"{quote(path)} has too many tensors: {LIMITS['tensor_count'].advice}")
    held = 0
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not _is_plain(tensor):
            raise _refuse(path, f"{quote(name, 80)} is not a dense floating-point tensor or one of indices")
        held += tensor.numel() * tensor.element_size()
        if held > len(content):
            raise _refuse(path, "its tensors have more bytes than the file")
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _check_archive(content: bytes, path: str) -> None:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _refuse(path, "it is not an archive by torch.save, or older than 2020") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _refuse(path, "its members are compressed")
    if sum(member.file_size for member in members) > len(content):
        raise _refuse(path, "its members overlap")
    indices = [member for member in members if member.filename.endswith(".pkl")]
    if max((member.file_size for member in indices), default=0) > LIMITS["pickle_mb"].num_bytes:
        raise FormatError(f"the index of {quote(path)} is too long: {LIMITS['pickle_mb'].advice}")
    # Members are not compressed, so their bytes can be searched in the file.
    if any(name in content for name in COSTLY):
        raise _refuse(path, "it calls functions that tensors do not need")


def _is_plain(tensor: Any) -> bool:
    is_tensor = type(tensor) in (Tensor, torch.nn.Parameter)
    return (
        is_tensor
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in (*DTYPES, *_INDICES)
    )


def _refuse(path: str, why: str) -> FormatError:
    return FormatError(
        f"{quote(path)} cannot be read as weights by torch.save ({why}): if you trust the adapter, load it "
        "with PEFT and save it with save_pretrained, which writes safetensors"
    )
