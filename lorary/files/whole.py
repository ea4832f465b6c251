"""Files that appear completely or not at all."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file, replacing an existing one; missing folders are made.

    It is written under a temporary name in the same folder, flushed to the disk, then renamed in one step.
    An existing link is replaced, and nothing is written through it.

    Args:
        path: the file's path.
        content: the whole content; text is written as UTF-8.

    Returns:
        The written path.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=place.parent, prefix=".lorary-", delete=False) as temporary:
        try:
            temporary.write(content.encode() if isinstance(content, str) else content)
            temporary.flush()
            # A temporary file is readable by its owner only, but the result has ordinary permissions.
            os.chmod(temporary.name, 0o644)
            publish(Path(temporary.name), place)
        except BaseException:
            # It may be in its place already, if only flushing the folder failed.
            with suppress(FileNotFoundError):
                os.unlink(temporary.name)
            raise
    return place


def publish(scratch: Path, path: Path) -> None:
    """Flush a written file to the disk, then rename it in one step."""
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(scratch, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush a folder's names to the disk, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
