"""One artifact as a safetensors file that says what it was computed from, and the hash of its own content."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import is_finite
from lorary.files import parse_json_object, quote

Artifact = dict[str, Tensor]

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 16_000_000
# A part of the source, and of what is hashed, where zeros stand in its place. As JSON within JSON; sorted, it
# is the first of the source, which begins the file.
HASH = "_sha256"
_START = b'{\\"_sha256\\":\\"'
_BLANK = "0" * 64


def pack_artifact(artifact: Mapping[str, Tensor], source: Mapping[str, Any]) -> bytes:
    """Write an artifact as a file.

    Args:
        artifact: name -> tensor, anywhere and of any strides.
        source: what it was computed from; what JSON can hold.
    """
    # Copies, because safetensors refuses tensors that share memory, such as slices of one stack.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in artifact.items()}
    content = save(tensors, {"source": canonical_json({**source, HASH: _BLANK})})
    return _exchange_hash(content, _BLANK, hashlib.sha256(content).hexdigest())


def unpack_artifact(content: bytes) -> tuple[Artifact, dict[str, Any]]:
    """Read an artifact and what it was computed from.

    One that an older lorary wrote has no hash; then its numbers are only seen to be finite.

    Raises:
        FormatError: if it is damaged, is not what was written, or holds a number that is not finite.
    """
    source = read_source(content)
    digest = source.pop(HASH, None)
    if digest is not None:
        blank = _exchange_hash(content, str(digest), _BLANK)
        if hashlib.sha256(blank).hexdigest() != digest:
            raise FormatError("is not what was stored")
    try:
        artifact = load(content)
    except (SafetensorError, ValueError) as error:
        raise FormatError("is no sound safetensors file") from error
    _refuse_not_finite(artifact)
    return artifact, source


def read_source(content: bytes) -> dict[str, Any]:
    """Read what a file says it was computed from, from its beginning.

    Raises:
        FormatError: if it says nothing that can be understood.
    """
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    header = content[LENGTH_BYTES : LENGTH_BYTES + min(length, MOST_HEADER_BYTES)]
    metadata = parse_json_object(header, "header").get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("source"), str):
        raise FormatError("does not say what it was computed from")
    return parse_json_object(metadata["source"].encode(), "source")


def _exchange_hash(content: bytes, old: str, new: str) -> bytes:
    return content.replace(_START + old.encode(), _START + new.encode(), 1)


def canonical_json(value: Mapping[str, object]) -> str:
    """Write a mapping so that equal ones give equal text.

    Raises:
        TypeError: if it holds what JSON can't.
    """
    try:
        return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"an artifact's parameters must hold only what JSON can ({error}), got {quote(dict(value))}"
        ) from error


def _refuse_not_finite(artifact: Artifact) -> None:
    alike = defaultdict(list)
    for tensor in artifact.values():
        if tensor.is_floating_point() and tensor.numel():
            alike[tensor.dtype].append(tensor.flatten())
    for tensors in alike.values():
        if not is_finite(torch.cat(tensors).float() if tensors[0].itemsize < 2 else torch.cat(tensors)):
            raise FormatError("holds NaN or infinite numbers")
