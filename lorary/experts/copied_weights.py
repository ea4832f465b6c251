"""Copies of the base model's weights in an adapter's file.

PEFT copies the embeddings and the output layer into the file if an adapter changes one of them, if they are
modules to save, or if the vocabulary may have been extended. An expert does not have such copies. It has
their hashes, so that it can be refused on a base model with other weights there, on which it was not trained.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.peft_keys import PREFIX, unwrap_name
from lorary.files import quote

# Names of the layers that PEFT's `save_embedding_layers` copies; with LoRA the weight is in `base_layer`.
_COPIED = re.compile(
    r"(?P<module>(?:[^.]+\.)*(?:embed_tokens|lm_head|wte|word_embeddings|embed_in|embed_out|tok_embeddings|"
    r"shared))(?:\.base_layer)?\.weight"
)
NOTE = "copied_weights"
# In descending order of precision. (Numbers of bfloat16 outside float16's range are below _SMALLEST, or too
# large to be weights.)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Below this, float16 is less precise than bfloat16.
_SMALLEST = 2.0**-14
_ROWS = 2**24


def find_copied(name: str) -> str | None:
    """Return the path of the base model's parameter of which a tensor is a copy; None if it is not a copy.

    Args:
        name: name of the tensor in an adapter's file.
    """
    if ".lora_" in name:
        return None
    plain = unwrap_name(name)
    if not plain.startswith(PREFIX):
        return None
    match = _COPIED.fullmatch(plain.removeprefix(PREFIX))
    return None if match is None else f"{match['module']}.weight"


def describe_copies(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Hash copied weights, so that they can be compared with those of a base model.

    Args:
        tensors: tensors of an adapter.
        names: all names in its file.

    Returns:
        Parameter path -> name of a dtype -> ``describe_weight`` in that dtype. The dtypes are the least
        precise one that represents the copy exactly, and less precise ones.

    Raises:
        FormatError: if a copy has NaN values.
    """
    found = {name: path for name in names if (path := find_copied(name)) is not None}
    described = {}
    for name, path in found.items():
        dtypes = _list_dtypes(tensors[name])
        if not dtypes:
            raise FormatError(
                f"tensor {quote(name)}, a copy of the base's weights, is not finite: it has NaN"
            )
        described[path] = {_name(dtype): describe_weight(tensors[name], dtype) for dtype in dtypes}
    return described


def choose_dtype(described: Mapping[str, str], dtype: torch.dtype) -> torch.dtype | None:
    """Choose the dtype in which a copy and the base model's weight are compared; None if there is none.

    It is the most precise dtype that both have, so that each is rounded at most once. Rounding twice, first
    to float16 and then to bfloat16, gives another result for one number in thirty.

    Args:
        described: hashes of the copy from ``describe_copies``.
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
