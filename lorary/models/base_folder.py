"""A base model's folder looked through before ``transformers`` is given it, which does more than read it."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from lorary.errors import BaseModelError
from lorary.files import quote, read_json_object, require_regular

ADAPTER_FILE = "adapter_config.json"


def check_base_folder(folder: Path) -> None:
    """Refuse a folder that would make ``transformers`` go elsewhere, fetch code, or wait for ever.

    Args:
        folder: a local folder; nothing is done where it is none.

    Raises:
        BaseModelError: if it holds an adapter, which would be put on whatever model that names; if an index
            of weights names files outside the folder; or if its configuration asks for code by name.
        FormatError: if a file is none, such as a named pipe, or an index or configuration is no JSON object.
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
            f"the folder {quote(str(folder))} holds an adapter, {ADAPTER_FILE}, not only a base model: give "
            "the base model's own folder, and add the adapter to a library with `lorary library add`"
        )
    for name in names:
        if name.endswith(".index.json"):
            _check_index(folder / name)
    if "config.json" in names:
        _check_config(folder / "config.json")


def _check_index(path: Path) -> None:
    found = read_json_object(LocalFileSystem(), str(path)).get("weight_map")
    for name in found.values() if isinstance(found, Mapping) else [found]:
        if not isinstance(name, str) or Path(name).name != name or name == "..":
            raise BaseModelError(
                f"{quote(str(path))} must name files that lie beside it, found {quote(name)}: fetch the base "
                "model again"
            )


def _check_config(path: Path) -> None:
    for key, value in _walk(read_json_object(LocalFileSystem(), str(path))):
        # A kernel on the hub, such as "owner/name:function", whose code would be fetched and run.
        if key.endswith("implementation") and isinstance(value, str) and "/" in value:
            raise BaseModelError(
                f"{quote(str(path))} asks for code by name, {key} {quote(value)}: if you trust the model, "
                "remove that"
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
    """Tell whether the Rust code of a tokenizer gave up, which is no ``Exception`` in Python."""
    return type(error).__name__ == "PanicException"
