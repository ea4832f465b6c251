"""Which folders of a library are experts, and what their small files say.

A folder is an expert if it has ``adapter_config.json`` or ``expert.json``: every PEFT adapter copied in by
hand is one, and one that lost a file is still seen, so that ``verify`` can say so. There is no index that
could go stale.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from lorary.errors import LibraryError, UnknownExpert
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.files import quote, shorten
from lorary.library.entry import Entry, parse_entry
from lorary.library.names import find_namesake, is_name
from lorary.library.storage.contract import Storage, refuse_link
from lorary.library.storage.places import MARKER

_ABSENT = (FileNotFoundError, NotADirectoryError)
_SMALL_FILES = (SIDECAR_FILE, CONFIG_FILE)


def is_expert(storage: Storage, name: object) -> bool:
    """Return whether there is an expert of this name; never looks outside the library."""
    return (
        is_name(name)
        and storage.find_kind(str(name)) == "folder"
        and any(storage.find_kind(f"{name}/{file}") for file in _SMALL_FILES)
    )


def is_link(storage: Storage, name: object) -> bool:
    """Return whether there is a symbolic link where an expert of this name would be."""
    return is_name(name) and storage.find_kind(str(name)) == "link"


def list_experts(storage: Storage) -> list[str]:
    """List the experts' names, sorted."""
    names = _list_folders(storage)
    found = storage.find_existing(f"{name}/{file}" for name in names for file in _SMALL_FILES)
    return [name for name in names if any(f"{name}/{file}" in found for file in _SMALL_FILES)]


def list_entries(storage: Storage) -> list[Entry]:
    """Describe every expert, sorted by name, without opening a weights file.

    Raises:
        FormatError: if an expert's small files can't be understood.
    """
    found = _read_small_files(storage, _list_folders(storage))
    return [parse_entry(name, storage.path(name), *found[name]) for name in sorted(found)]


def hash_weights(storage: Storage, names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each expert's weights file; only a plain adapter's is read for it.

    Args:
        storage: the library's.
        names: names of experts that are there.
    """
    return {entry.name: _hash_weights(storage, entry) for entry in _read_entries(storage, names)}


def identify_experts(storage: Storage, names: Sequence[str]) -> dict[str, str]:
    """Return the hash that tells each expert's content, which its artifacts are kept under.

    It is the hash of the weights file where the sidecar vouches for the configuration, which holds the scale:
    then an edited configuration is refused when the expert is read. Elsewhere the configuration may be edited
    by hand, so that it is hashed too.

    Args:
        storage: the library's.
        names: names of experts that are there.
    """
    return {entry.name: _identify(storage, entry) for entry in _read_entries(storage, names)}


def require_expert(storage: Storage, name: object) -> None:
    """Raise ``UnknownExpert``, with the nearest names, unless there is an expert of this name."""
    if not is_expert(storage, name):
        if is_link(storage, name):
            raise LibraryError(refuse_link(storage.url, str(name)))
        raise UnknownExpert(shorten(str(name)), list_experts(storage), f"library {quote(storage.url)}")


def require_free_name(storage: Storage, name: str, instead_of: str | None = None) -> None:
    """Raise ``LibraryError`` if there is an expert, or anything else, of this name, or of one much like it.

    Args:
        storage: the library's.
        name: the new name.
        instead_of: a name that is given up for it.
    """
    if is_expert(storage, name):
        raise LibraryError(
            f"library {quote(storage.url)} has an expert {name!r} already: "
            "choose another name, or delete that one first"
        )
    require_no_stranger(storage, name)
    others = storage.list_kinds()
    if instead_of is not None:
        others.pop(instead_of, None)
    namesake = find_namesake(name, others)
    if namesake is not None:
        raise LibraryError(
            f"library {quote(storage.url)} has {quote(namesake)} already, which on some disks is the same "
            f"name as {name!r} (they differ only in case or in how accents are written): choose another name"
        )


def require_no_stranger(storage: Storage, name: str) -> None:
    """Raise ``LibraryError`` if there is something of this name that is not an expert."""
    if storage.find_kind(name) and not is_expert(storage, name):
        raise LibraryError(
            f"library {quote(storage.url)} has something named {name!r} that is not an expert: "
            "choose another name"
        )


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
    """List the folders that could be experts. What is a link is none: ``verify`` tells of it."""
    kinds = storage.list_kinds()
    if not kinds and storage.find_kind(MARKER) is None:
        raise LibraryError(f"library {quote(storage.url)} is gone: it was moved or deleted")
    return [name for name, kind in kinds.items() if kind == "folder" and is_name(name)]


def _read_small_files(storage: Storage, names: Sequence[str]) -> dict[str, tuple[bytes | None, bytes | None]]:
    """Read the sidecars and, of those without one, the configurations; leave out what has neither."""
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
