"""Hashes by which a run knows its files again: SHA-256 of all that matters in them."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor


def hash_json(value: Any) -> str:
    """Hash a value that JSON can hold; how it is laid out in a file makes no difference."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return sha256(text.encode()).hexdigest()


def hash_tensors(record: Any, tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors on the CPU, with their names, dtypes and shapes, together with what is said of them.

    Args:
        record: a value that JSON can hold.
        tensors: tensor name -> tensor.
    """
    digest = sha256(hash_json(record).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(hash_json([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
