"""Opening an expert's files in a library: the part of reading that needs the library's lock."""

from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.peft_reader import OpenedAdapter, explain_missing
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.library.storage.contract import Storage

_ABSENT = (FileNotFoundError, NotADirectoryError)


def open_expert(storage: Storage, name: str) -> OpenedAdapter:
    """Read an expert's small files and map its weights; nothing is parsed yet.

    Args:
        storage: the library's storage.
        name: a checked name.

    Raises:
        FormatError: if a file is missing, too large, or not a regular file.
        LibraryError: if a file is a link.
    """
    config, sidecar = storage.read_many([f"{name}/{CONFIG_FILE}", f"{name}/{SIDECAR_FILE}"]).values()
    weights = f"{name}/{WEIGHTS_FILE}"
    absent = {CONFIG_FILE: isinstance(config, _ABSENT), WEIGHTS_FILE: storage.find_kind(weights) is None}
    missing = [file for file, is_absent in absent.items() if is_absent]
    if missing:
        raise explain_missing(storage.path(name), missing)
    return OpenedAdapter(
        storage.path(name),
        _require(config),
        None if isinstance(sidecar, _ABSENT) else _require(sidecar),
        storage.read_tensors(weights),
    )


def _require(content: bytes | Exception) -> bytes:
    if isinstance(content, Exception):
        raise content
    return content
