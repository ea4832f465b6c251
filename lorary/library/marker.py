"""``library.json``, which marks a folder as a library: checking it, and writing it."""

import json

from lorary.errors import FormatError, LibraryError
from lorary.experts.peft_config import CONFIG_FILE
from lorary.files import escape, parse_json_object, quote
from lorary.library.names import is_name
from lorary.library.storage.contract import Storage
from lorary.library.storage.places import MARKER

VERSION = 1
MOST_BYTES = 64_000


def require_library(storage: Storage) -> None:
    """Check that there is a library at this storage, of a format that this version reads.

    Raises:
        LibraryError: if not; the message states what is there instead, and how to make a library.
    """
    try:
        _require_folder(storage)
        _check_version(storage)
    except OSError as error:
        raise LibraryError(f"cannot open library {quote(storage.url)}: {error}") from error


def _require_folder(storage: Storage) -> None:
    kind = storage.find_kind()
    if kind is None:
        raise LibraryError(f"there is no library at {quote(storage.url)}: {_say_create(storage)} makes one")
    if kind != "folder":
        raise LibraryError(f"a library must be a folder, {quote(storage.url)} is a file: name a folder")
    if storage.find_kind(MARKER) is None:
        raise LibraryError(
            f"{quote(storage.url)} is not a library (it has no {MARKER}): {_say_what(storage)}"
        )


def make_library(storage: Storage) -> None:
    """Make a library unless there is one; a folder of PEFT adapters becomes a library without other changes.

    Raises:
        LibraryError: if something else is at this place, or nothing can be written.
    """
    try:
        kind = storage.find_kind()
        if kind == "folder" and storage.find_kind(MARKER):
            return
        if kind and not (kind == "folder" and (_is_empty(storage) or _find_adapters(storage))):
            found = _say_what(storage) if kind == "folder" else "it is a file"
            raise LibraryError(f"cannot make a library at {quote(storage.url)}: {found}")
        storage.make_root()
        with storage.changing() as change:
            if storage.find_kind(MARKER) is None:
                change.commit({MARKER: json.dumps({"lorary": VERSION, "kind": "library"}).encode()})
    except OSError as error:
        raise LibraryError(f"cannot make a library at {quote(storage.url)}: {error}") from error


def _check_version(storage: Storage) -> None:
    path = storage.path(MARKER)
    try:
        marker = parse_json_object(storage.read(MARKER, end=MOST_BYTES), path)
        version, kind = marker["lorary"], marker["kind"]
    except (FormatError, KeyError) as error:
        raise LibraryError(
            f"{quote(storage.url)} has a damaged {MARKER} ({escape(str(error), longest=200)}): "
            f'it must be {{"lorary": {VERSION}, "kind": "library"}}'
        ) from error
    if kind != "library" or type(version) is not int or version < 1:
        raise LibraryError(f"{quote(storage.url)} is not a library: its {MARKER} has {quote(marker)}")
    if version > VERSION:
        raise LibraryError(
            f"library {quote(storage.url)} has format {version}, this version of lorary reads up to "
            f"{VERSION}: upgrade lorary"
        )


def _say_what(storage: Storage) -> str:
    if storage.find_kind(CONFIG_FILE):
        return "it is a single adapter; read it with lorary.read_peft and add it to a library"
    if adapters := _find_adapters(storage):
        return f"it has adapters such as {quote(adapters[0])}; {_say_create(storage)} makes it a library"
    if _is_empty(storage):
        return f"it is empty; {_say_create(storage)} makes it a library"
    return f"it has other files, such as {quote(_list_visible(storage)[0])}; name an empty or a new folder"


def _say_create(storage: Storage) -> str:
    return f"Library.open({quote(storage.url)}, create=True), `lorary train` or `lorary library add`"


def _list_visible(storage: Storage) -> list[str]:
    return [name for name in storage.list_kinds() if not name.startswith(".")]


def _is_empty(storage: Storage) -> bool:
    return not _list_visible(storage)


def _find_adapters(storage: Storage) -> list[str]:
    folders = [name for name, kind in storage.list_kinds().items() if kind == "folder" and is_name(name)]
    found = storage.find_existing(f"{name}/{CONFIG_FILE}" for name in folders)
    return [name for name in folders if f"{name}/{CONFIG_FILE}" in found]
