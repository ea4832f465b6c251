"""Writing an expert's folder atomically."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.files import quote

CARD_FILE = "README.md"
ADAPTER_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, SIDECAR_FILE, CARD_FILE})


def replace_folder(fs: AbstractFileSystem, path: str, files: Mapping[str, bytes]) -> None:
    """Write an adapter's files as one folder, and replace an adapter that is there.

    On a local disk, the new folder is written beside the old one and renamed. If the process is killed
    between the two renames, both are left as hidden ``.lorary-…`` folders. Other storages have no such
    rename. There, an old configuration is removed first and the new one is written last. An interrupted write
    leaves a folder without a configuration, which readers refuse, and never a mixture of two adapters.

    Args:
        fs: the file system.
        path: path of the folder, without a slash at its end.
        files: file name -> content, ``adapter_config.json`` last.

    Raises:
        FormatError: if the folder has files that are not an adapter's.
    """
    check_replaceable(fs, path)
    if isinstance(fs, LocalFileSystem):
        _replace_local(Path(path).resolve(), files)
        return
    fs.makedirs(path, exist_ok=True)
    if fs.exists(f"{path}/{CONFIG_FILE}"):
        fs.rm_file(f"{path}/{CONFIG_FILE}")
    for name, content in files.items():
        fs.pipe_file(f"{path}/{name}", content)


def check_replaceable(fs: AbstractFileSystem, path: str) -> None:
    """Check that a folder is missing, empty or an adapter's.

    Raises:
        FormatError: if it is a file, or has files that are not an adapter's.
    """
    if not fs.exists(path):
        return
    if not fs.isdir(path):
        raise FormatError(f"{quote(path)} must be a folder for an adapter, found a file: choose another path")
    found = {entry.rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False)}
    others = sorted(found - ADAPTER_FILES)
    if others or (found and CONFIG_FILE not in found):
        listed = ", ".join(quote(name, 60) for name in (others or sorted(found))[:5])
        raise FormatError(
            f"{quote(path)} must be empty or have only an adapter's files, found {listed}: choose another "
            "folder, or empty this one"
        )


def _replace_local(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In the same parent folder, and so on the same disk, because renames are atomic only within a disk.
    fresh = folder.parent / f".lorary-{uuid4().hex}.new"
    fresh.mkdir()
    try:
        for name, content in files.items():
            _write_synced(fresh / name, content)
        _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _swap(fresh: Path, folder: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    old = fresh.with_suffix(".old")
    folder.rename(old)
    try:
        fresh.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
