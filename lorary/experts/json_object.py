"""JSON files of one object, read from untrusted storage and written the same way everywhere."""

import json
from typing import Any

from fsspec import AbstractFileSystem

from lorary.errors import FormatError


def read_json_object(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
    """Read a JSON file whose top level is an object.

    Args:
        fs: the file system it lies on.
        path: the file's path there.

    Raises:
        FileNotFoundError: if there is no such file.
        FormatError: if it is not JSON, or not an object.
    """
    content = fs.cat_file(path)
    try:
        value = json.loads(content)
    # Deep nesting in a hostile file ends in a RecursionError.
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"{path!r} must be a JSON file, found {content[:20]!r} ({error}): fetch or write it again"
        ) from error
    if not isinstance(value, dict):
        raise FormatError(
            f"{path!r} must hold a JSON object, found {type(value).__name__}: fetch or write it again"
        )
    return value


def dump_json_object(value: dict[str, Any]) -> bytes:
    """Write an object as indented JSON, keys in the order given, ending with a new line."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
