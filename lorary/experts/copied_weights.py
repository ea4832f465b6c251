"""Copies of the base model's weights in an adapter's file.

PEFT copies the embeddings and the output layer into the file if an adapter changes one of them, if they are
modules to save, or if the vocabulary may have been extended. When the expert is attached, copies that equal
the base model's weights are left out. Experts that earlier versions read have hashes of them instead.
"""

import hashlib
import re
from collections.abc import Mapping

import torch
from torch import Tensor

# Names of the layers that PEFT's `save_embedding_layers` copies.
_COPIED = re.compile(
    r"(?:[^.]+\.)*(?:embed_tokens|lm_head|wte|word_embeddings|embed_in|embed_out|tok_embeddings|shared)"
)
NOTE = "copied_weights"
# In descending order of precision. (Numbers of bfloat16 outside float16's range are below _SMALLEST, or too
# large to be weights.)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Below this, float16 is less precise than bfloat16.
_SMALLEST = 2.0**-14
_ROWS = 2**24


def is_copied_module(path: str) -> bool:
    """Return whether PEFT may copy a module's weights without training them: an embedding or output layer."""
    return _COPIED.fullmatch(path) is not None


def is_same_weight(copy: Tensor, weight: Tensor) -> bool:
    """Return whether a copy has the values of a base model's weight.

    Both are compared in the most precise dtype that both have, so that each is rounded at most once. Rounding
    twice, first to float16 and then to bfloat16, gives another result for one number in thirty.

    Args:
        copy: the copy in an adapter's file.
        weight: the base model's weight.
    """
    if copy.shape != weight.shape or not weight.is_floating_point():
        return False
    known = {_name(dtype): "" for dtype in _list_dtypes(copy)}
    dtype = choose_dtype(known, weight.dtype)
    return dtype is not None and all(
        torch.equal(_drop_tiny(mine.cpu()).to(dtype), _drop_tiny(theirs.cpu()).to(dtype))
        for mine, theirs in zip(
            copy.detach().flatten().split(_ROWS), weight.detach().flatten().split(_ROWS), strict=True
        )
    )


def choose_dtype(described: Mapping[str, str], dtype: torch.dtype) -> torch.dtype | None:
    """Choose the dtype in which a copy and the base model's weight are compared; None if there is none.

    Args:
        described: names of the dtypes that represent the copy, with its hashes.
        dtype: dtype of the base model's weight.
    """
    fewer = _DTYPES[_DTYPES.index(dtype) :] if dtype in _DTYPES else _DTYPES
    return next((one for one in fewer if _name(one) in described), None)


def describe_weight(weight: Tensor, dtype: torch.dtype = torch.bfloat16) -> str:
    """Return a weight's shape and a hash of its values.

    Args:
        weight: a floating-point tensor.
        dtype: dtype to which the values are rounded; magnitudes below 2^-14 are treated as zero.
    """
    digest = hashlib.sha256(str(list(weight.shape)).encode())
    for rows in weight.detach().to("cpu").flatten().split(_ROWS):
        # Adding 0.0 turns negative zeros into positive ones.
        digest.update((_drop_tiny(rows).to(dtype) + 0.0).view(torch.uint8).numpy().data)
    return f"{'x'.join(map(str, weight.shape))}:{digest.hexdigest()}"


def _list_dtypes(copy: Tensor) -> list[torch.dtype]:
    """List the least precise dtype that represents a copy exactly (or float32), and less precise ones.

    The list is empty for a copy with NaN values.
    """
    exact = [
        dtype
        for dtype in _DTYPES
        if all(
            torch.equal(plain.to(dtype).float(), plain)
            for rows in copy.flatten().split(_ROWS)
            for plain in [_drop_tiny(rows)]
        )
    ]
    return list(_DTYPES[_DTYPES.index(exact[-1]) :]) if exact else []


def _drop_tiny(numbers: Tensor) -> Tensor:
    plain = numbers.float()
    return plain.masked_fill(plain.abs() < _SMALLEST, 0.0)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
