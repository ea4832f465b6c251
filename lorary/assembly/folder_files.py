"""The files of a saved model's folder, known by their hashes."""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath

from lorary.errors import FormatError
from lorary.files import open_regular, quote
from lorary.library.artifacts import ARTIFACTS

EXPERTS = "experts"
BASE = "base"
KEPT = f"{EXPERTS}/{ARTIFACTS}/"
PRIVATE = KEPT.removesuffix("artifacts/")
_PART = 2**20
AGAIN = "build the model again, or fetch it again"


def hash_files(folder: Path) -> dict[str, str]:
    """Give every file's path beneath a saved model's folder -> its SHA-256.

    What a library needs while it is open, such as its lock, is left out; its artifacts are not.
    """
    names = [name for name in _list_files(folder) if name.startswith(KEPT) or not name.startswith(PRIVATE)]
    return {name: hash_file(folder / name) for name in names}


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Refuse a folder in which a file is not what was saved, is missing, or was put beside what is read.

    No link is followed. Files at the top, which nobody reads, and a library's artifacts may be added.

    Args:
        folder: the folder.
        expected: path beneath it -> SHA-256.

    Raises:
        FormatError: naming the file.
    """
    found = set(_list_files(folder))
    for name, digest in sorted(expected.items()):
        place = quote(str(folder / name))
        if name not in found:
            raise FormatError(f"{place} cannot be read, it is missing: {AGAIN}")
        if hash_file(folder / name) != digest:
            raise FormatError(f"{place} is not what was saved: {AGAIN}")
    for name in sorted(found - expected.keys()):
        if name.startswith((f"{BASE}/", f"{EXPERTS}/")) and not name.startswith(PRIVATE):
            raise FormatError(f"{quote(str(folder / name))} was not saved with this model: remove it")


def refuse_links(folder: Path) -> None:
    """Refuse a saved model whose parts lie elsewhere.

    Raises:
        FormatError: naming the part.
    """
    for part in (EXPERTS, BASE):
        if (folder / part).is_symlink():
            raise FormatError(
                f"{quote(str(folder / part))} must be a folder, found a link: copy what it leads to there"
            )


def hash_file(path: Path) -> str:
    """Give a regular file's SHA-256, worked out once as long as the file stays the same.

    Raises:
        FormatError: if it is a link, no file at all, or cannot be read.
    """
    try:
        with open_regular(path, follow=False) as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        raise FormatError(
            f"{quote(str(path))} must be a file that can be read, and no link ({error.strerror}): {AGAIN}"
        ) from error
    return _hash(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=4096)
def _hash(path: Path, identity: tuple[int, ...]) -> str:
    digest = sha256()
    with open_regular(path, follow=False) as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest()


def is_beneath(name: str) -> bool:
    """Tell whether a path as it stands in a file stays beneath the folder that it is taken from."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts) and str(PurePosixPath(*parts)) == name and ".." not in parts and not name.startswith("/")
    )


def _list_files(folder: Path, above: str = "") -> Iterator[str]:
    """List what is no folder beneath a folder; links are listed, not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _list_files(Path(entry.path), f"{above}{entry.name}/")
            else:
                yield f"{above}{entry.name}"
