"""The text within files of each kind: taken out, to be made hostile, and put back."""

import gzip
import json
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

GZIP, XZ = b"\x1f\x8b", b"\xfd7zXZ"
TEXTS = {".json", ".jsonl", ".yaml", ".yml"}


class Content(NamedTuple):
    """A file's values, and how to write others in their place."""

    lines: list[Any]
    """JSON values, one for each line; most files have one."""
    write: Callable[[list[str]], bytes]
    """Texts of such values -> the file's bytes."""


def is_tensors(path: Path) -> bool:
    """Tell whether a file holds tensors."""
    return path.suffix == ".safetensors" and path.is_file()


def is_yaml(path: Path) -> bool:
    """Tell whether a file is YAML."""
    return path.suffix in (".yaml", ".yml") and path.is_file()


def has_values(path: Path) -> bool:
    """Tell whether ``read_values`` understands a file."""
    return path.is_file() and bool({*path.suffixes} & {*TEXTS, ".safetensors"})


def read_values(path: Path) -> Content:
    """Take a file's values out."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        header, payload = split_tensors(content)
        return Content([json.loads(header)], lambda lines: join_tensors(lines[0].encode(), payload))
    pack: Callable[[bytes], bytes] = bytes
    if content.startswith(GZIP):
        content, pack = gzip.decompress(content), lambda raw: gzip.compress(raw, 1, mtime=0)
    elif content.startswith(XZ):
        content, pack = lzma.decompress(content), lambda raw: lzma.compress(raw, preset=0)
    if is_yaml(path):
        lines = [yaml.safe_load(content)]
    elif ".jsonl" in path.suffixes:
        lines = [json.loads(line) for line in content.splitlines()]
    else:
        lines = [json.loads(content)]
    return Content(lines, lambda texts: pack("\n".join(texts).encode("utf-8", "surrogatepass") + b"\n"))


def split_tensors(content: bytes) -> tuple[bytes, bytes]:
    """Give the header and the numbers of a safetensors file."""
    [length] = struct.unpack("<Q", content[:8])
    return content[8 : 8 + length], content[8 + length :]


def join_tensors(header: bytes, payload: bytes) -> bytes:
    """Build a safetensors file."""
    return struct.pack("<Q", len(header)) + header + payload
