"""Checking a base model's folder before ``transformers`` opens it, which could fetch files or run code."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorary.errors import BaseModelError
from lorary.files import parse_json_object, quote, read_at_most, require_regular

ADAPTER_FILE = "adapter_config.json"


def check_base_folder(folder: Path) -> None:
    """Check that ``transformers`` will read files of this folder only, run no code, and not wait forever.

    Args:
        folder: a path; nothing is checked if it is not that of a folder.

    Raises:
        BaseModelError: if the folder has an adapter, which ``transformers`` would put on the model that the
            adapter names; if an index of weights names files outside the folder; or if the configuration
            names code to be loaded.
        FormatError: if a file is not a regular file, such as a named pipe, or an index or configuration is
            not a JSON object.
    """
    if not folder.is_dir():
        return
    names = sorted(os.listdir(folder))
    for name in names:
        status = (folder / name).stat()
        if not stat.S_ISDIR(status.st_mode):
            require_regular(status, str(folder / name))
    if ADAPTER_FILE in names:
        raise BaseModelError(
            f"the folder of a base model must have no adapter, found {ADAPTER_FILE} in {quote(str(folder))}: "
            "name the base model's own folder, and add the adapter to a library with `lorary library add`"
        )
    for name in names:
        if name.endswith(".index.json"):
            _check_index(folder / name)
    if "config.json" in names:
        _check_config(folder / "config.json")


def _check_index(path: Path) -> None:
    found = parse_json_object(read_at_most(path), str(path)).get("weight_map")
    for name in found.values() if isinstance(found, Mapping) else [found]:
        if not isinstance(name, str) or Path(name).name != name or name == "..":
            raise BaseModelError(
                f"{quote(str(path))} must name files of its own folder, found {quote(name)}: download the "
                "base model again"
            )


def _check_config(path: Path) -> None:
    for key, value in _walk(parse_json_object(read_at_most(path), str(path))):
        # A kernel on the hub, such as "owner/name:function": its code would be downloaded and run.
        if key.endswith("implementation") and isinstance(value, str) and "/" in value:
            raise BaseModelError(
                f"{quote(str(path))} must not name code to be loaded, found {key} {quote(value)}: if you "
                "trust the model, remove that entry"
            )


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key), part
            yield from _walk(part)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part)


def is_panic(error: BaseException) -> bool:
    """Return whether an error is a panic of a tokenizer's Rust code, which is not an ``Exception``."""
    return type(error).__name__ == "PanicException"
