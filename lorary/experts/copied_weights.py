"""Whole weights of the base model that an adapter's file comes with.

PEFT copies the embeddings and the output layer into the file where an adapter changes one of them, where they
are named as modules to save, or where it finds that the vocabulary may have grown. An expert leaves such
copies out, and remembers what was in them: on a base model that has other weights there, it would not be what
was trained.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.peft_keys import PREFIX, unwrap_name
from lorary.files import quote

# What PEFT's `save_embedding_layers` copies; of a layer with LoRA the weight lies within.
_COPIED = re.compile(
    r"(?P<module>(?:[^.]+\.)*(?:embed_tokens|lm_head|wte|word_embeddings|embed_in|embed_out|tok_embeddings|"
    r"shared))(?:\.base_layer)?\.weight"
)
NOTE = "copied_weights"
# From most digits to fewest. (What bfloat16 holds and float16 does not is tiny, see below, or no weight.)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Below this float16 has fewer digits than bfloat16.
_SMALLEST = 2.0**-14
_ROWS = 2**24


def find_copied(name: str) -> str | None:
    """Give the path of the base's parameter that a tensor is a copy of; None if it is none.

    Args:
        name: the tensor's, in an adapter's file.
    """
    if ".lora_" in name:
        return None
    plain = unwrap_name(name)
    if not plain.startswith(PREFIX):
        return None
    match = _COPIED.fullmatch(plain.removeprefix(PREFIX))
    return None if match is None else f"{match['module']}.weight"


def describe_copies(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Describe copied weights so that they can be held against a base model's.

    Args:
        tensors: an adapter's.
        names: all names in its file.

    Returns:
        Parameter path -> name of a dtype -> ``describe_weight`` in that: the one with the fewest digits that
        holds the copy exactly, and those with fewer.

    Raises:
        FormatError: if a copy has a number that is none (NaN).
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
    """Choose the dtype in which a copy and the base's weight can be compared.

    Each of them is rounded once at most where it is the one with the most digits that both have: rounded by
    way of float16, one number in thirty is not the nearest in bfloat16.

    Args:
        described: of the copy, as by ``describe_copies``.
        dtype: of the base's weight.
    """
    fewer = _DTYPES[_DTYPES.index(dtype) :] if dtype in _DTYPES else _DTYPES
    return next((one for one in fewer if _name(one) in described), None)


def describe_weight(weight: Tensor, dtype: torch.dtype = torch.bfloat16) -> str:
    """Describe a weight's shape and numbers.

    Args:
        weight: any floating tensor.
        dtype: what the numbers are rounded to; those too small for float16 count as zero.
    """
    digest = hashlib.sha256(str(list(weight.shape)).encode())
    for rows in weight.detach().to("cpu").flatten().split(_ROWS):
        # + 0.0 makes the negative zero positive.
        digest.update((_drop_tiny(rows).to(dtype) + 0.0).view(torch.uint8).numpy().data)
    return f"{'x'.join(map(str, weight.shape))}:{digest.hexdigest()}"


def _list_dtypes(copy: Tensor) -> list[torch.dtype]:
    """List the dtypes from the last that holds a copy exactly, by digits; float32 stands for all above.

    None holds a copy with NaN.
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
