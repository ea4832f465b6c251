"""Which folders of a library are experts, and what their small files say.

A folder is an expert if it has ``adapter_config.json`` or ``expert.json``: every PEFT adapter copied in by
hand is one, and one that lost a file is still seen, so that ``verify`` can say so. There is no index that
could go stale.
"""

from collections.abc import Iterable, Sequence

from lorary.errors import LibraryError, UnknownExpert
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.library.entry import Entry, parse_entry
from lorary.library.marker import MARKER, is_name
from lorary.library.storage import Storage

_MISSING = (FileNotFoundError, NotADirectoryError)


def is_expert(storage: Storage, name: object) -> bool:
    """Return whether there is an expert of this name; never looks outside the library."""
    return is_name(name) and any(storage.exists(f"{name}/{file}") for file in (CONFIG_FILE, SIDECAR_FILE))


def list_experts(storage: Storage) -> list[str]:
    """List the experts' names, sorted."""
    return sorted(_read_small_files(storage))


def list_entries(storage: Storage) -> list[Entry]:
    """Describe every expert, sorted by name, without opening a weights file.

    Raises:
        FormatError: if an expert's small files can't be understood.
    """
    found = _read_small_files(storage)
    return [parse_entry(name, storage.path(name), *found[name]) for name in sorted(found)]


def hash_weights(storage: Storage, names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each expert's weights file; only a plain adapter's is read for it.

    Args:
        storage: the library's.
        names: names of experts that are there.
    """
    found = _read_small_files_of(storage, names)
    entries = [parse_entry(name, storage.path(name), *found[name]) for name in names]
    return {
        entry.name: entry.weights_sha256 or storage.hash(f"{entry.name}/{WEIGHTS_FILE}") for entry in entries
    }


def require_expert(storage: Storage, name: object) -> None:
    """Raise ``UnknownExpert``, with the nearest names, unless there is an expert of this name."""
    if not is_expert(storage, name):
        raise UnknownExpert(str(name), list_experts(storage), f"library {storage.url!r}")


def require_free_name(storage: Storage, name: str) -> None:
    """Raise ``LibraryError`` if there is an expert, or anything else, of this name."""
    if is_expert(storage, name):
        raise LibraryError(
            f"library {storage.url!r} has an expert {name!r} already: "
            "choose another name, or delete that one first"
        )
    require_no_stranger(storage, name)


def require_no_stranger(storage: Storage, name: str) -> None:
    """Raise ``LibraryError`` if there is something of this name that is not an expert."""
    if storage.exists(name) and not is_expert(storage, name):
        raise LibraryError(
            f"library {storage.url!r} has something named {name!r} that is not an expert: choose another name"
        )


def _read_small_files(storage: Storage) -> dict[str, tuple[bytes | None, bytes | None]]:
    names = storage.list_names()
    if not names and not storage.exists(MARKER):
        raise LibraryError(f"library {storage.url!r} is gone: it was moved or deleted")
    return _read_small_files_of(storage, filter(is_name, names))


def _read_small_files_of(
    storage: Storage, names: Iterable[str]
) -> dict[str, tuple[bytes | None, bytes | None]]:
    """Read the sidecars and, of those without one, the configurations; leave out what has neither."""
    candidates = list(names)
    sidecars = _read_existing(storage, candidates, SIDECAR_FILE)
    configs = _read_existing(storage, [name for name in candidates if name not in sidecars], CONFIG_FILE)
    return {name: (sidecars.get(name), configs.get(name)) for name in sidecars.keys() | configs.keys()}


def _read_existing(storage: Storage, names: Iterable[str], file: str) -> dict[str, bytes]:
    contents = storage.read_many(f"{name}/{file}" for name in names)
    found: dict[str, bytes] = {}
    for path, content in contents.items():
        if isinstance(content, _MISSING):
            continue
        if isinstance(content, Exception):
            raise content
        found[path.rpartition("/")[0]] = content
    return found
