"""Weights that `torch.save` wrote: read by PyTorch's own restricted unpickler, within limits.

`torch.load(weights_only=True)` builds nothing but tensors and plain containers. What it may cost is bounded
before: the archive's members must be stored as they are, and together be no larger than the archive.
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
# PyTorch's unpickler calls these too, with a size as large as a pickle of a few bytes likes.
COSTLY = (b"cbuiltins\nbytearray\n", b"c__builtin__\nbytearray\n", b"c_codecs\nencode\n")


def load_pickled(content: bytes, path: str) -> dict[str, Tensor]:
    """Read a dictionary of tensors from the bytes of a file that `torch.save` wrote.

    Args:
        content: the file's bytes.
        path: where it lies, for messages.

    Returns:
        Tensor name -> tensor, each with memory of its own.

    Raises:
        FormatError: if it is no such file, is damaged, holds anything but tensors, or is beyond the limits.
    """
    _check_archive(content, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever damaged bytes make of an unpickler
        raise _refuse(path, escape(str(error), keep="", longest=200)) from error
    tensors = value.get("state_dict", value) if isinstance(value, Mapping) else value
    if not isinstance(tensors, Mapping) or not tensors:
        raise _refuse(path, "it is no dictionary of tensors")
    if len(tensors) > LIMITS["tensor_count"].value:
        raise FormatError(f"{quote(path)} names too many tensors: {LIMITS['tensor_count'].advice}")
    held = 0
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not _is_plain(tensor):
            raise _refuse(path, f"{quote(name, 80)} is no tensor of plain numbers")
        held += tensor.numel() * tensor.element_size()
        if held > len(content):
            raise _refuse(path, "its tensors take more bytes than it has")
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _check_archive(content: bytes, path: str) -> None:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _refuse(path, "it is no archive of torch.save, or one of before 2020") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _refuse(path, "its members are compressed")
    if sum(member.file_size for member in members) > len(content):
        raise _refuse(path, "its members overlap")
    indices = [member for member in members if member.filename.endswith(".pkl")]
    if max((member.file_size for member in indices), default=0) > LIMITS["pickle_mb"].num_bytes:
        raise FormatError(f"{quote(path)} has too long an index: {LIMITS['pickle_mb'].advice}")
    # Members are stored as they are, so their bytes stand in the file.
    if any(name in content for name in COSTLY):
        raise _refuse(path, "it builds what no tensor needs")


def _is_plain(tensor: Any) -> bool:
    is_tensor = type(tensor) in (Tensor, torch.nn.Parameter)
    return (
        is_tensor
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in DTYPES
    )


def _refuse(path: str, why: str) -> FormatError:
    return FormatError(
        f"{quote(path)} cannot be read as weights that torch.save wrote ({why}): load the adapter with PEFT "
        "where you trust it, and save it with save_pretrained, which writes safetensors"
    )
