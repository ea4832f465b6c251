"""Finished units of a run: folders with the product's files and a record of its training.

finished/<name>/
├── …                     the product's files, such as an expert's adapter folder
└── progress.json        the curves; the run's hash and the unit's name; hashes of the files and of itself
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fsspec.implementations.local import LocalFileSystem

from lorary.experts.folder import replace_folder
from lorary.files import hash_file, quote, say_count
from lorary.files.whole import sync_folder
from lorary.training.folder.digests import hash_json
from lorary.training.folder.run_files import has_file, has_folder, read_record, remove
from lorary.training.progress import UnitPlan, UnitProgress, parse_progress

RECORD = "progress.json"
# Keys of a record besides the progress; records of earlier versions have none of them.
OWN_KEYS = ("expert", "run", "files", "sha256")

Product = TypeVar("Product")


class ProductForm(Protocol[Product]):
    """The file format of a run's products."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files whose hashes are stored in the record."""
        ...

    def write(self, product: Product) -> dict[str, bytes]:
        """Return a product's files: name -> content."""
        ...

    def read(self, folder: Path, name: str, hashes: Mapping[str, str], num_steps: int) -> Product:
        """Read a product, and check that this run could have made it.

        Args:
            folder: the folder of its files.
            name: the unit's name.
            hashes: file -> SHA-256 of its present content.
            num_steps: number of steps of its training.

        Raises:
            OSError: if a file cannot be read.
            LoraryError, ValueError: if the product is invalid or of another run; the message has the fault.
        """
        ...


def write_finished(
    folder: Path, run: str, name: str, form: ProductForm[Product], product: Product, progress: UnitProgress
) -> None:
    """Write a finished unit's folder, completely or not at all; an existing one is replaced.

    Args:
        folder: the folder's path.
        run: the hash of the run's identity.
        name: the unit's name.
        form: the file format of products.
        product: the unit's product.
        progress: its progress.
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
    """Read a finished unit, and check that it is the expected one and unchanged.

    A folder of an earlier version has no hashes. There the product and the curves are checked for consistency
    with the plan, but a changed loss is not detected.

    Args:
        folder: the folder's path.
        run: the hash of the run's identity.
        name: the unit's name.
        form: the file format of products.
        plan: the unit's plan.

    Returns:
        The product and its progress; None if there is no folder, or one without a record, as a killed run of
        an earlier version leaves it.

    Raises:
        OSError: if a file cannot be read.
        LoraryError, ValueError: if the unit is damaged or another one; the message has the fault.
    """
    if not has_folder(folder) or not has_file(folder / RECORD):
        return None
    record = read_record(folder / RECORD)
    hashes = _take_hashes(record, run, name)
    found = {file: _hash_present(folder, file) for file in form.files}
    for file in form.files:
        if hashes is not None and found[file] != hashes.get(file):
            raise ValueError(f"{file} was changed after it was written: its SHA-256 differs")
    progress = parse_progress(record, plan)
    if not progress.is_finished:
        raise ValueError(
            f"{RECORD} has {say_count(progress.step, 'step')}, which do not complete the training"
        )
    return form.read(folder, name, found, progress.step), progress


def _take_hashes(record: dict[str, Any], run: str, name: str) -> dict[str, Any] | None:
    """Remove and check a record's keys besides the progress; return the files' hashes, None if missing."""
    if not any(key in record for key in OWN_KEYS):
        return None
    digest = record.pop("sha256", None)
    if digest != hash_json(record):
        raise ValueError(f"{RECORD} was changed after it was written: its SHA-256 differs")
    found, owner, files = (record.pop(key, None) for key in ("expert", "run", "files"))
    if found != name:
        raise ValueError(f"its expert must be {name!r}, found {quote(found, 140)}")
    if owner != run:
        raise ValueError("it belongs to another run")
    if not isinstance(files, dict):
        raise ValueError(f"{RECORD} must have hashes of files, found {quote(files, 60)}")
    return files


def _hash_present(folder: Path, name: str) -> str:
    if not has_file(folder / name):
        raise ValueError(f"{name} is missing")
    return hash_file(folder / name)
