"""The files of a saved model's folder, with their hashes."""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath

from lorary.errors import FormatError
from lorary.files import hash_file, open_regular, quote
from lorary.library.artifacts import ARTIFACTS

EXPERTS = "experts"
BASE = "base"
KEPT = f"{EXPERTS}/{ARTIFACTS}/"
PRIVATE = KEPT.removesuffix("artifacts/")
AGAIN = "build the model again, or fetch it again"


def hash_files(folder: Path) -> dict[str, str]:
    """Hash the files of a saved model's folder: relative path -> SHA-256.

    The library's private files, such as its lock, are left out; its artifacts are included.
    """
    names = [name for name in _list_files(folder) if name.startswith(KEPT) or not name.startswith(PRIVATE)]
    return {name: _hash_once(folder / name) for name in names}


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Refuse a folder with a changed or missing file, or with an added file beside those that are loaded.

    Links are not followed. Files at the top, which are not loaded, and artifacts of the library may be added.

    Args:
        folder: the folder.
        expected: relative path -> SHA-256.

    Raises:
        FormatError: with the file.
    """
    found = set(_list_files(folder))
    for name, digest in sorted(expected.items()):
        place = quote(str(folder / name))
        if name not in found:
            raise FormatError(f"{place} is missing: {AGAIN}")
        if _hash_once(folder / name) != digest:
            raise FormatError(f"{place} is not what was saved: {AGAIN}")
    for name in sorted(found - expected.keys()):
        if name.startswith((f"{BASE}/", f"{EXPERTS}/")) and not name.startswith(PRIVATE):
            raise FormatError(f"{quote(str(folder / name))} was not saved with this model: remove it")


def refuse_links(folder: Path) -> None:
    """Refuse a saved model whose subfolders are links.

    Raises:
        FormatError: with the subfolder.
    """
    for part in (EXPERTS, BASE):
        if (folder / part).is_symlink():
            raise FormatError(
                f"{quote(str(folder / part))} must be a folder, found a link: replace it with a copy of its "
                "target"
            )


def _hash_once(path: Path) -> str:
    """Return a regular file's SHA-256, computed once per file identity.

    Raises:
        FormatError: if it is a link or no regular file, or cannot be read.
    """
    try:
        with open_regular(path, follow=False) as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        raise FormatError(
            f"{quote(str(path))} must be a readable file, not a link ({error.strerror}): {AGAIN}"
        ) from error
    return _hash(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=4096)
def _hash(path: Path, identity: tuple[int, ...]) -> str:
    return hash_file(path)


def is_beneath(name: str) -> bool:
    """Return whether a relative path stays inside its folder."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts) and str(PurePosixPath(*parts)) == name and ".." not in parts and not name.startswith("/")
    )


def _list_files(folder: Path, above: str = "") -> Iterator[str]:
    """List all files below a folder; links are listed, but not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _list_files(Path(entry.path), f"{above}{entry.name}/")
            else:
                yield f"{above}{entry.name}"
