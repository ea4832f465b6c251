"""The file of an artifact: safetensors whose metadata has its source and the hash of its own content.

The source describes what the artifact was computed from: subjects, algorithm and parameters.
"""

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
# The hash's key in the source. The hash is computed with zeros in its own place. Keys are sorted, so
# "_sha256"
# comes first; as JSON inside JSON its quotes are escaped.
HASH = "_sha256"
_START = b'{\\"_sha256\\":\\"'
_BLANK = "0" * 64


def pack_artifact(artifact: Mapping[str, Tensor], source: Mapping[str, Any]) -> bytes:
    """Return the bytes of an artifact's file.

    Args:
        artifact: name -> tensor, on any device and with any strides.
        source: what it was computed from, as JSON values.
    """
    # Cloned, because safetensors refuses tensors that share memory, such as slices of one stack.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in artifact.items()}
    content = save(tensors, {"source": canonical_json({**source, HASH: _BLANK})})
    return _exchange_hash(content, _BLANK, hashlib.sha256(content).hexdigest())


def unpack_artifact(content: bytes) -> tuple[Artifact, dict[str, Any]]:
    """Read an artifact and its source from the bytes of its file.

    A file of an earlier version has no hash; then only its numbers are checked to be finite.

    Raises:
        FormatError: if the file is damaged, has another hash than its own, or has a number that is not
            finite.
    """
    source = read_source(content)
    digest = source.pop(HASH, None)
    if digest is not None:
        end = _find_header_end(content)
        own = hashlib.sha256(_exchange_hash(content[:end], str(digest), _BLANK))
        own.update(memoryview(content)[end:])  # not copied
        if own.hexdigest() != digest:
            raise FormatError("has changed since it was stored")
    try:
        artifact = load(content)
    except (SafetensorError, ValueError) as error:
        raise FormatError("is not a valid safetensors file") from error
    _refuse_not_finite(artifact)
    return artifact, source


def read_source(content: bytes) -> dict[str, Any]:
    """Read an artifact's source from the beginning of its file.

    Raises:
        FormatError: if the header is invalid or has no source.
    """
    header = content[LENGTH_BYTES : _find_header_end(content)]
    metadata = parse_json_object(header, "header").get("__metadata__")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("source"), str):
        raise FormatError("has no source in its header")
    return parse_json_object(metadata["source"].encode(), "source")


def _find_header_end(content: bytes) -> int:
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    return LENGTH_BYTES + min(length, MOST_HEADER_BYTES)


def _exchange_hash(content: bytes, old: str, new: str) -> bytes:
    return content.replace(_START + old.encode(), _START + new.encode(), 1)


def canonical_json(value: Mapping[str, object]) -> str:
    """Encode a mapping as JSON, such that equal mappings give equal text.

    Raises:
        TypeError: if it has values that JSON cannot represent.
    """
    try:
        return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"an artifact's parameters must be JSON values ({error}), found {quote(dict(value))}"
        ) from error


def _refuse_not_finite(artifact: Artifact) -> None:
    alike = defaultdict(list)
    for tensor in artifact.values():
        if tensor.is_floating_point() and tensor.numel():
            alike[tensor.dtype].append(tensor.flatten())
    for tensors in alike.values():
        joined = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        if not is_finite(joined.float() if joined.itemsize < 2 else joined):
            raise FormatError("has NaN or infinite numbers")
