"""Finished units of a run: folders of files with a record of how they were trained and what they hash to.

finished/<name>/
├── …                     the product's files, such as an expert's adapter folder
└── progress.json        the curves; the run and the unit they are of; hashes of the files and of itself
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fsspec.implementations.local import LocalFileSystem

from lorary.experts.folder import replace_folder
from lorary.files import hash_file, quote
from lorary.files.whole import sync_folder
from lorary.training.folder.digests import hash_json
from lorary.training.folder.run_files import has_file, has_folder, read_record, remove
from lorary.training.progress import UnitPlan, UnitProgress, parse_progress

RECORD = "progress.json"
# What a record says besides the progress; records of earlier versions say none of it.
OWN_KEYS = ("expert", "run", "files", "sha256")

Product = TypeVar("Product")


class ProductForm(Protocol[Product]):
    """How the products of a run are kept as files."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that make a product what it is; a record has their hashes."""
        ...

    def write(self, product: Product) -> dict[str, bytes]:
        """Give a product's files."""
        ...

    def read(self, folder: Path, name: str, hashes: Mapping[str, str], num_steps: int) -> Product:
        """Read a product, if it is one that the run may have made.

        Args:
            folder: where its files are.
            name: the unit's.
            hashes: file -> SHA-256 of what is there.
            num_steps: how many steps it was trained for.

        Raises:
            OSError: if a file cannot be read.
            LoraryError, ValueError: saying what is wrong.
        """
        ...


def write_finished(
    folder: Path, run: str, name: str, form: ProductForm[Product], product: Product, progress: UnitProgress
) -> None:
    """Write a finished unit's folder, whole or not at all; one that is there is replaced.

    Args:
        folder: its place.
        run: the hash of what the run is.
        name: the unit's.
        form: how products are kept.
        product: what the unit became.
        progress: its training.
    """
    files = form.write(product)
    record: dict[str, Any] = {
        **asdict(progress),
        "expert": name,
        "run": run,
        "files": {file: sha256(files[file]).hexdigest() for file in form.files},
    }
    record["sha256"] = hash_json(record)
    remove(folder)
    content = (json.dumps(record, separators=(",", ":")) + "\n").encode()
    replace_folder(LocalFileSystem(), str(folder), {RECORD: content, **files})
    sync_folder(folder.parent)


def read_finished(
    folder: Path, run: str, name: str, form: ProductForm[Product], plan: UnitPlan
) -> tuple[Product, UnitProgress] | None:
    """Read a finished unit, if it is the one expected and as it was written.

    A folder of an earlier version has no hashes: there the product and the curves are checked for what must
    hold of them, but an altered loss is not noticed.

    Args:
        folder: its place.
        run: the hash of what the run is.
        name: the unit's.
        form: how products are kept.
        plan: its training.

    Returns:
        The product and its training; None if there is no folder, or one without a record, as a killed run of
        an earlier version leaves it.

    Raises:
        OSError: if a file cannot be read.
        LoraryError, ValueError: saying what is wrong.
    """
    if not has_folder(folder) or not has_file(folder / RECORD):
        return None
    record = read_record(folder / RECORD)
    hashes = _take_hashes(record, run, name)
    found = {file: _hash_present(folder, file) for file in form.files}
    for file in form.files:
        if hashes is not None and found[file] != hashes.get(file):
            raise ValueError(f"{file} is not the file that was written: its SHA-256 differs")
    progress = parse_progress(record, plan)
    if not progress.is_finished:
        raise ValueError(f"{RECORD} says {progress.step} steps, which is not when its training ended")
    return form.read(folder, name, found, progress.step), progress


def _take_hashes(record: dict[str, Any], run: str, name: str) -> dict[str, Any] | None:
    """Take what a record says besides the progress; returns the files' hashes, None if it has none."""
    if not any(key in record for key in OWN_KEYS):
        return None
    digest = record.pop("sha256", None)
    if digest != hash_json(record):
        raise ValueError(f"{RECORD} does not say what was written: its SHA-256 differs")
    found, owner, files = (record.pop(key, None) for key in ("expert", "run", "files"))
    if found != name:
        raise ValueError(f"it is the folder of expert {quote(found, 140)}, not of {name!r}")
    if owner != run:
        raise ValueError("it is of another run")
    if not isinstance(files, dict):
        raise ValueError(f"{RECORD} must have hashes of files, found {quote(files, 60)}")
    return files


def _hash_present(folder: Path, name: str) -> str:
    if not has_file(folder / name):
        raise ValueError(f"{name} is missing")
    return hash_file(folder / name)
