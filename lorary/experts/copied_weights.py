"""Whole weights of the base model that an adapter's file comes with.

PEFT copies the embeddings and the output layer into the file where an adapter changes one of them, or where
it finds that the vocabulary may have grown. An expert leaves such copies out, and remembers what was in them:
on a base model that has other weights there, it would not be what was trained.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lorary.experts.peft_keys import PREFIX, unwrap_name

# What PEFT's `save_embedding_layers` copies; of a layer with LoRA the weight lies within.
_COPIED = re.compile(
    r"(?P<module>(?:[^.]+\.)*(?:embed_tokens|lm_head|wte|word_embeddings|embed_in|embed_out|tok_embeddings|"
    r"shared))(?:\.base_layer)?\.weight"
)
NOTE = "copied_weights"
# Below this float16 has fewer digits than bfloat16.
_SMALLEST = 2.0**-14


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


def describe_copies(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, str]:
    """Describe copied weights so that they can be held against a base model's.

    Args:
        tensors: an adapter's.
        names: all names in its file.

    Returns:
        Parameter path -> what ``describe_weight`` says of it.
    """
    found = {name: path for name in names if (path := find_copied(name)) is not None}
    return {path: describe_weight(tensors[name]) for name, path in found.items()}


def describe_weight(weight: Tensor) -> str:
    """Describe a weight's shape and numbers, equally in all dtypes it may be stored in.

    Numbers are rounded to bfloat16, and those too small for float16 count as zero.
    """
    digest = hashlib.sha256(str(list(weight.shape)).encode())
    for rows in weight.detach().to("cpu").flatten().split(2**24):
        plain = rows.float()
        rounded = plain.masked_fill(plain.abs() < _SMALLEST, 0.0).to(torch.bfloat16)
        digest.update((rounded + 0.0).view(torch.uint8).numpy().data)
    return f"{'x'.join(map(str, weight.shape))}:{digest.hexdigest()}"
