"""What lies in a run's folder: nothing in it is followed through a link, and every refusal names the file."""

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
from lorary.files import escape, quote, read_json_object, require_regular, shorten

# Of files and folders that are being written or removed; what a kill leaves of them is swept away.
SCRATCH = ".lorary-"
START_OVER = "start over with fresh=True (--fresh), or take another folder"


@contextmanager
def refuse_damage(path: Path, advice: str, what: str = "") -> Iterator[None]:
    """Within this context, whatever a file or folder turns out to be wrong with becomes one refusal.

    Args:
        path: the file or folder.
        advice: what to do if it is damaged.
        what: what it is, for the beginning of the message.

    Raises:
        TrainingError: naming it, the fault and the advice.
    """
    try:
        yield
    except TrainingError:
        raise
    except OSError as error:
        raise TrainingError(
            f"{what}{quote(str(path))} cannot be used ({shorten(escape(str(error), keep=''), 300)}): "
            "run the same command again when it can be"
        ) from error
    except (LoraryError, SafetensorError, ValueError) as error:
        fault = shorten(str(error), 400)
        raise TrainingError(f"{what}{quote(str(path))} is damaged ({fault}): {advice}") from error


def read_status(path: Path) -> os.stat_result | None:
    """Look at what stands at a path, itself and not what a link points to; None only if nothing does."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def has_file(path: Path) -> bool:
    """Tell whether a file is there.

    Raises:
        ValueError: if it is a link.
        FormatError: if it is anything else than a regular file.
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
    """Tell whether a folder is there.

    Raises:
        ValueError: if it is a link, or anything else than a folder.
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
        raise ValueError("it is a symbolic link, and inside a run's folder none is followed")


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that ``has_file`` has seen.

    Raises:
        OSError: if it cannot be read.
        FormatError: if it is too large, or no JSON object.
    """
    return read_json_object(path)


def name_scratch(folder: Path) -> Path:
    """Name something new in a folder, by a name that nobody can have put a link at."""
    return folder / f"{SCRATCH}{uuid4().hex}"


def remove(path: Path) -> None:
    """Remove a file, a folder with all in it, or a link; never what a link points to.

    A folder leaves its place in one step, so that no half of it is ever found there.
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
    """Remove what a killed run was writing or removing in a folder."""
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if entry.name.startswith(SCRATCH)]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
