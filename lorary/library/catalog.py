"""Listing the experts of a library, from their folders and small files.

A folder is an expert if it has ``adapter_config.json`` or ``expert.json``. So a PEFT adapter that was copied
in by hand is an expert, and an expert that lost a file is still listed, for ``verify`` to report. There is no
index that could be out of date.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from lorary.errors import LibraryError, UnknownExpert
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.files import escape, quote
from lorary.library.entry import Entry, parse_entry
from lorary.library.names import find_namesake, is_name
from lorary.library.storage.contract import Storage, refuse_link
from lorary.library.storage.places import MARKER

_ABSENT = (FileNotFoundError, NotADirectoryError)
_SMALL_FILES = (SIDECAR_FILE, CONFIG_FILE)


def is_expert(storage: Storage, name: object) -> bool:
    """Return whether there is an expert of this name; a name can never lead outside the library."""
    return (
        is_name(name)
        and storage.find_kind(str(name)) == "folder"
        and any(storage.find_kind(f"{name}/{file}") for file in _SMALL_FILES)
    )


def is_link(storage: Storage, name: object) -> bool:
    """Return whether there is a symbolic link at the place of an expert of this name."""
    return is_name(name) and storage.find_kind(str(name)) == "link"


def list_experts(storage: Storage) -> list[str]:
    """List the experts' names, sorted."""
    names = _list_folders(storage)
    found = storage.find_existing(f"{name}/{file}" for name in names for file in _SMALL_FILES)
    return [name for name in names if any(f"{name}/{file}" in found for file in _SMALL_FILES)]


def list_entries(storage: Storage) -> list[Entry]:
    """Describe every expert, sorted by name, without opening a weights file.

    Raises:
        FormatError: if an expert's small files are invalid.
    """
    found = _read_small_files(storage, _list_folders(storage))
    return [parse_entry(name, storage.path(name), *found[name]) for name in sorted(found)]


def hash_weights(storage: Storage, names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each expert's weights file; the file is read only if no hash is stored.

    Args:
        storage: the library's storage.
        names: names of existing experts.
    """
    return {entry.name: _hash_weights(storage, entry) for entry in _read_entries(storage, names)}


def identify_experts(storage: Storage, names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each expert's content, by which its artifacts are stored.

    If the sidecar has the hash of the configuration (which has the scale), an edited configuration is refused
    when the expert is read, so the hash of the weights file is enough. Otherwise the configuration may have
    been edited by hand, so it is hashed too.

    Args:
        storage: the library's storage.
        names: names of existing experts.
    """
    return {entry.name: _identify(storage, entry) for entry in _read_entries(storage, names)}


def require_expert(storage: Storage, name: object) -> None:
    """Raise ``UnknownExpert``, with the nearest names, if there is no expert of this name."""
    if not is_expert(storage, name):
        if is_link(storage, name):
            raise LibraryError(refuse_link(storage.url, str(name)))
        raise UnknownExpert(
            escape(str(name), longest=200), list_experts(storage), f"library {quote(storage.url)}"
        )


def require_free_name(storage: Storage, name: str, instead_of: str | None = None) -> None:
    """Raise ``LibraryError`` if a name, or one that some file systems treat as equal, is taken.

    Args:
        storage: the library's storage.
        name: the new name.
        instead_of: a name that becomes free in the same change.
    """
    if is_expert(storage, name):
        raise LibraryError(
            f"library {quote(storage.url)} already has an expert {name!r}: "
            "choose another name, or delete that expert first"
        )
    require_no_stranger(storage, name)
    others = storage.list_kinds()
    if instead_of is not None:
        others.pop(instead_of, None)
    namesake = find_namesake(name, others)
    if namesake is not None:
        raise LibraryError(
            f"library {quote(storage.url)} already has {quote(namesake)}, which is the same name as {name!r} "
            "on some file systems (they differ only in case or in how accents are encoded): choose another "
            "name"
        )


def require_no_stranger(storage: Storage, name: str) -> None:
    """Raise ``LibraryError`` if something of this name exists that is not an expert."""
    if storage.find_kind(name) and not is_expert(storage, name):
        raise LibraryError(
            f"library {quote(storage.url)} has a file or folder {name!r} that is not an expert: "
            "choose another name"
        )


def read_sidecars(storage: Storage, names: Sequence[str]) -> dict[str, bytes]:
    """Return the bytes of the experts' ``expert.json``; experts without one are left out."""
    return _read_existing(storage, names, SIDECAR_FILE)


def _read_entries(storage: Storage, names: Sequence[str]) -> list[Entry]:
    found = _read_small_files(storage, names)
    return [parse_entry(name, storage.path(name), *found[name]) for name in names]


def _identify(storage: Storage, entry: Entry) -> str:
    weights = _hash_weights(storage, entry)
    if entry.config_sha256 is not None:
        return weights
    return sha256(f"{weights} {storage.hash(f'{entry.name}/{CONFIG_FILE}')}".encode()).hexdigest()


def _hash_weights(storage: Storage, entry: Entry) -> str:
    return entry.weights_sha256 or storage.hash(f"{entry.name}/{WEIGHTS_FILE}")


def _list_folders(storage: Storage) -> list[str]:
    """List the folders whose names are valid for experts; links are left out, and ``verify`` reports them."""
    kinds = storage.list_kinds()
    if not kinds and storage.find_kind(MARKER) is None:
        raise LibraryError(f"library {quote(storage.url)} no longer exists: it was moved or deleted")
    return [name for name, kind in kinds.items() if kind == "folder" and is_name(name)]


def _read_small_files(storage: Storage, names: Sequence[str]) -> dict[str, tuple[bytes | None, bytes | None]]:
    """Read sidecars and, for folders without one, configurations; folders without both are left out."""
    sidecars = _read_existing(storage, names, SIDECAR_FILE)
    configs = _read_existing(storage, [name for name in names if name not in sidecars], CONFIG_FILE)
    return {name: (sidecars.get(name), configs.get(name)) for name in sidecars.keys() | configs.keys()}


def _read_existing(storage: Storage, names: Iterable[str], file: str) -> dict[str, bytes]:
    contents = storage.read_many(f"{name}/{file}" for name in names)
    found: dict[str, bytes] = {}
    for path, content in contents.items():
        if isinstance(content, _ABSENT):
            continue
        if isinstance(content, Exception):
            raise content
        found[path.rpartition("/")[0]] = content
    return found
