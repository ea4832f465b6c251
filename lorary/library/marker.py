"""The file that makes a folder a library: finding it, making it, and saying what is there instead."""

import json

from lorary.errors import LibraryError
from lorary.experts import check_name
from lorary.experts.peft_config import CONFIG_FILE
from lorary.library.publish import Publisher
from lorary.library.storage import Storage

MARKER = "library.json"
VERSION = 1


def require_library(storage: Storage) -> None:
    """Make sure that there is a library here that this lorary understands.

    Raises:
        LibraryError: saying what is here instead, and how to make a library.
    """
    if not storage.exists():
        raise LibraryError(f"there is no library at {storage.url!r}: {_say_create(storage)} makes one")
    if not storage.is_folder():
        raise LibraryError(f"{storage.url!r} is a file, not a library: give a folder")
    if not storage.exists(MARKER):
        raise LibraryError(f"{storage.url!r} is not a library (it has no {MARKER}): {_say_what(storage)}")
    _check_version(storage)


def make_library(storage: Storage, publisher: Publisher) -> None:
    """Make a library here unless there is one; a folder of PEFT adapters becomes one as it is.

    Raises:
        LibraryError: if something else is here, or nothing can be written.
    """
    if storage.exists(MARKER):
        return
    if storage.exists() and not (storage.is_folder() and (_is_empty(storage) or _find_adapters(storage))):
        found = _say_what(storage) if storage.is_folder() else "it is a file"
        raise LibraryError(f"cannot make a library at {storage.url!r}: {found}")
    try:
        storage.make_folder()
        with publisher.writing():
            if not storage.exists(MARKER):
                publisher.write_whole({MARKER: json.dumps({"lorary": VERSION, "kind": "library"}).encode()})
    except OSError as error:
        raise LibraryError(f"cannot make a library at {storage.url!r}: {error}") from error


def _check_version(storage: Storage) -> None:
    try:
        marker = json.loads(storage.read(MARKER))
        version, kind = marker["lorary"], marker["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryError(
            f'{storage.url!r} has a damaged {MARKER}: it must hold {{"lorary": {VERSION}, "kind": "library"}}'
        ) from error
    if kind != "library" or type(version) is not int or version < 1:
        raise LibraryError(f"{storage.url!r} is not a library: its {MARKER} says {marker!r}")
    if version > VERSION:
        raise LibraryError(
            f"library {storage.url!r} has format {version}, this lorary reads up to {VERSION}: upgrade lorary"
        )


def _say_what(storage: Storage) -> str:
    if storage.exists(CONFIG_FILE):
        return "it is a single adapter; read it with lorary.read_peft and add it to a library"
    if adapters := _find_adapters(storage):
        return f"it holds adapters such as {adapters[0]!r}; {_say_create(storage)} makes it a library"
    if _is_empty(storage):
        return f"it is empty; {_say_create(storage)} makes it a library"
    return f"it holds other files, such as {_list_visible(storage)[0]!r}; give an empty or a new folder"


def _say_create(storage: Storage) -> str:
    return f"Library.open({storage.url!r}, create=True), `lorary train` or `lorary library add`"


def _list_visible(storage: Storage) -> list[str]:
    return [name for name in storage.list_names() if not name.startswith(".")]


def _is_empty(storage: Storage) -> bool:
    return not _list_visible(storage)


def _find_adapters(storage: Storage) -> list[str]:
    return [
        name for name in _list_visible(storage) if is_name(name) and storage.exists(f"{name}/{CONFIG_FILE}")
    ]


def is_name(name: object) -> bool:
    """Return whether this could be an expert's name."""
    try:
        check_name(name)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
