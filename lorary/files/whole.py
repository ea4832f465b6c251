"""Files that appear completely or not at all."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file, in place of the one that may be there; missing folders are made.

    It is written under a name of its own beside its place, brought to the disk, then moved there in one step.
    What stands there may be a link: that is replaced, and nothing is written through it.

    Args:
        path: where the file shall be.
        content: all of it; text is written as UTF-8.

    Returns:
        The path written.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=place.parent, prefix=".lorary-", delete=False) as temporary:
        try:
            temporary.write(content.encode() if isinstance(content, str) else content)
            temporary.flush()
            # A temporary file is readable by its owner only; a result is an ordinary file.
            os.chmod(temporary.name, 0o644)
            publish(Path(temporary.name), place)
        except BaseException:
            # It may be in its place already, if only the folder could not be brought to the disk.
            with suppress(FileNotFoundError):
                os.unlink(temporary.name)
            raise
    return place


def publish(scratch: Path, path: Path) -> None:
    """Put a written file on the disk for good, then in its place, in one step."""
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(scratch, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring a folder's names to the disk, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
