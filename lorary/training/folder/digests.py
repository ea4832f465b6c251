"""SHA-256 hashes by which a run checks its own files."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor


def hash_json(value: Any) -> str:
    """Hash a JSON value, independently of its layout in a file."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return sha256(text.encode()).hexdigest()


def hash_tensors(record: Any, tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors with their names, dtypes and shapes, together with a record about them.

    Args:
        record: a JSON value.
        tensors: name -> tensor, on the CPU.
    """
    digest = sha256(hash_json(record).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(hash_json([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
