"""Storing an expert under another name: its files are copied, except those that contain the name."""

from lorary.experts.folder import CARD_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.files import dump_json, parse_json_object
from lorary.library.entry import ADVICE
from lorary.library.storage.contract import Puts, Storage, Stored


def copy_as(storage: Storage, old: str, new: str) -> Puts:
    """Return the puts of a commit that stores an expert under another name; no weights are read.

    Args:
        storage: the library's storage.
        old: the expert's name.
        new: the other name.

    Raises:
        FormatError: if its ``expert.json`` is invalid.
    """
    changed = retitle(storage, old, new)
    return {new: Stored(old), **{f"{new}/{file}": content for file, content in changed.items()}}


def retitle(storage: Storage, old: str, new: str) -> dict[str, bytes]:
    """Return the files of an expert that contain its name, rewritten with the other name.

    Args:
        storage: the library's storage.
        old: the expert's name.
        new: the other name.

    Returns:
        File name -> content.

    Raises:
        FormatError: if its ``expert.json`` is invalid.
    """
    changed = {}
    for file in (SIDECAR_FILE, CARD_FILE):
        path = f"{old}/{file}"
        content = storage.read_many([path])[path]
        if isinstance(content, FileNotFoundError | NotADirectoryError):
            continue
        if isinstance(content, Exception):
            raise content
        if file == SIDECAR_FILE:
            sidecar = parse_json_object(content, storage.path(path), ADVICE)
            changed[file] = dump_json({**sidecar, "name": new}).encode()
        else:
            changed[file] = content.replace(f"\n# {old}\n".encode(), f"\n# {new}\n".encode(), 1)
    return changed
