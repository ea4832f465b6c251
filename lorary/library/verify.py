"""Finding what is wrong with stored experts: lost files, changed bytes, contents that can't be read."""

from dataclasses import dataclass

from lorary.errors import LoraryError
from lorary.experts import Sidecar, check_finite, read_expert_folder
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.experts.weights_file import PICKLE_FILE, WEIGHTS_FILE
from lorary.library.entry import parse_sidecar_bytes
from lorary.library.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a stored expert."""

    expert: str
    """The expert's name."""
    file: str
    """The file that is wrong; empty if it is the expert as a whole."""
    message: str
    """What is wrong and what to do."""

    def __str__(self) -> str:
        where = f"{self.expert}/{self.file}" if self.file else self.expert
        return f"{where}: {self.message}"


def find_problems(storage: Storage, name: str) -> list[Problem]:
    """Read everything of one expert and list what is wrong with it.

    Args:
        storage: the library's.
        name: a checked name.
    """
    files = set(storage.list_names(name))
    found = [
        Problem(expert=name, file=file, message="is missing: restore it, or add the expert again")
        for file in (CONFIG_FILE, WEIGHTS_FILE)
        if file not in files
    ]
    if PICKLE_FILE in files:
        message = "is a pickle, which can run code when opened and is never read: delete it"
        found.append(Problem(expert=name, file=PICKLE_FILE, message=message))
    if SIDECAR_FILE in files:
        found += _check_sidecar(storage, name, has_weights=WEIGHTS_FILE in files)
    if files >= {CONFIG_FILE, WEIGHTS_FILE} and not any(p.file == SIDECAR_FILE for p in found):
        found += _check_reading(storage, name)
    return found


def _check_sidecar(storage: Storage, name: str, has_weights: bool) -> list[Problem]:
    path = f"{name}/{SIDECAR_FILE}"
    try:
        sidecar = parse_sidecar_bytes(storage.read(path), storage.path(path))
    except (LoraryError, OSError) as error:
        return [Problem(expert=name, file=SIDECAR_FILE, message=str(error))]
    found = _check_name(sidecar, name)
    return found + _check_hash(storage, sidecar, name) if has_weights else found


def _check_name(sidecar: Sidecar, name: str) -> list[Problem]:
    if sidecar.name == name:
        return []
    message = (
        f"says the expert is {sidecar.name!r}, but its folder is {name!r} (copied or moved by hand?): "
        "correct 'name' there, or move the folder back and use the library's copy or rename"
    )
    return [Problem(expert=name, file=SIDECAR_FILE, message=message)]


def _check_hash(storage: Storage, sidecar: Sidecar, name: str) -> list[Problem]:
    found = storage.hash(f"{name}/{WEIGHTS_FILE}")
    if sidecar.weights_sha256 in (None, found):
        return []
    message = (
        f"is not what was stored: {SIDECAR_FILE} says SHA-256 {sidecar.weights_sha256}, found {found}: "
        "restore the file, or add the expert again"
    )
    return [Problem(expert=name, file=WEIGHTS_FILE, message=message)]


def _check_reading(storage: Storage, name: str) -> list[Problem]:
    try:
        check_finite(read_expert_folder(storage.fs, storage.path(name), name))
    except (LoraryError, OSError, ValueError) as error:
        return [Problem(expert=name, file="", message=f"cannot be read: {error}")]
    return []
