"""Operations on files of a run's folder: links are not followed, and every error names the file."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from lorary.errors import LoraryError, TrainingError
from lorary.files import escape, parse_json_object, quote, read_at_most, require_regular

# Prefix of files and folders that are being written or removed; `sweep` removes those of killed runs.
SCRATCH = ".lorary-"
START_OVER = "start over with fresh=True (--fresh), or use another folder"


@contextmanager
def refuse_damage(path: Path, advice: str, what: str = "") -> Iterator[None]:
    """Within this context, errors about a file or folder become a ``TrainingError`` that names it.

    Args:
        path: the file or folder.
        advice: what to do if it is damaged.
        what: description of it, for the beginning of the message.

    Raises:
        TrainingError: for any of these errors, with the path, the fault and the advice.
    """
    try:
        yield
    except TrainingError:
        raise
    except OSError as error:
        raise TrainingError(
            f"{what}{quote(str(path))} cannot be used ({escape(str(error), keep='', longest=300)}): "
            "run the same command again when it can be read"
        ) from error
    except (LoraryError, SafetensorError, ValueError) as error:
        fault = escape(str(error), longest=400)
        raise TrainingError(f"{what}{quote(str(path))} is damaged ({fault}): {advice}") from error


def read_status(path: Path) -> os.stat_result | None:
    """Return the status of a path, of a link itself and not of its target; None only if nothing is there."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def has_file(path: Path) -> bool:
    """Return whether a file exists.

    Raises:
        ValueError: if it is a link or a folder.
        FormatError: if it is not a regular file.
    """
    status = read_status(path)
    if status is None:
        return False
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("it must be a file, found a folder")
    _refuse_link(status)
    require_regular(status, str(path))
    return True


def has_folder(path: Path) -> bool:
    """Return whether a folder exists.

    Raises:
        ValueError: if it is a link, or not a folder.
    """
    status = read_status(path)
    if status is None:
        return False
    _refuse_link(status)
    if not stat.S_ISDIR(status.st_mode):
        raise ValueError("it must be a folder, found a file")
    return True


def _refuse_link(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise ValueError("it is a symbolic link, and links inside a run's folder are not followed")


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that was checked by ``has_file``.

    Raises:
        OSError: if it cannot be read.
        FormatError: if it is too large, or not a JSON object.
    """
    return parse_json_object(read_at_most(path), str(path))


def name_scratch(folder: Path) -> Path:
    """Return a new path in a folder, with a random name, so that no link can have been put there."""
    return folder / f"{SCRATCH}{uuid4().hex}"


def remove(path: Path) -> None:
    """Remove a file, a folder with its content, or a link (not its target).

    A folder is renamed first, so that a killed process never leaves half a folder at this path.
    """
    status = read_status(path)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        path.unlink()
        return
    scratch = name_scratch(path.parent)
    path.rename(scratch)
    shutil.rmtree(scratch)


def sweep(folder: Path) -> None:
    """Remove files and folders that a killed run was writing or removing in a folder."""
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if entry.name.startswith(SCRATCH)]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
