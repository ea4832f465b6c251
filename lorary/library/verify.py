"""Finding faults of stored experts: missing files, changed bytes, invalid content."""

from collections.abc import Collection
from dataclasses import dataclass

from lorary.errors import LoraryError
from lorary.experts.expert import check_finite
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.peft_reader import build_expert
from lorary.experts.pickled_weights import PICKLE_FILES
from lorary.experts.sidecar import SIDECAR_FILE, Sidecar
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.files import escape, quote
from lorary.library import catalog
from lorary.library.artifacts import ARTIFACTS, TRAINED, find_artifact_fault, make_path
from lorary.library.entry import parse_sidecar_bytes
from lorary.library.names import is_name
from lorary.library.open_expert import open_expert
from lorary.library.skill_sets import list_tables
from lorary.library.storage.contract import KIND_WORDS, Kind, Storage, refuse_link
from lorary.library.storage.places import MARKER

RESTORE = "restore it, or train again: it cannot be computed from the experts"
NEEDED_FILES = (CONFIG_FILE, WEIGHTS_FILE, SIDECAR_FILE)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One fault in a library."""

    expert: str
    """The expert's name; empty if it belongs to no expert."""
    file: str
    """The faulty file, in the expert's folder or else in the library; empty for the whole expert."""
    message: str
    """The fault, and what to do."""

    def __str__(self) -> str:
        where = "/".join(part for part in (self.expert, self.file) if part)
        return f"{where}: {self.message}"


def find_problems(storage: Storage, name: str) -> list[Problem]:
    """Read all files of one expert and list its faults.

    Args:
        storage: the library's storage.
        name: a checked name.
    """
    if storage.find_kind(name) == "link":
        return [Problem(expert=name, file="", message=refuse_link(storage.url, name))]
    files = storage.list_kinds(name)
    found = [
        Problem(expert=name, file=file, message="is missing: restore it, or add the expert again")
        for file in (CONFIG_FILE, WEIGHTS_FILE)
        if file not in files
    ]
    found += [
        Problem(expert=name, file=file, message=_say_strange(storage, f"{name}/{file}", kind))
        for file, kind in files.items()
        if kind == "link" or (kind != "file" and file in NEEDED_FILES)
    ]
    for file in PICKLE_FILES:
        if file in files:
            message = "is a pickle, which a library never reads: add the expert again, or delete it"
            found.append(Problem(expert=name, file=file, message=message))
    if any(files.get(file, "file") != "file" for file in NEEDED_FILES):
        return found
    if SIDECAR_FILE in files:
        found += _check_sidecar(storage, name, files)
    if files.keys() >= {CONFIG_FILE, WEIGHTS_FILE} and not any(p.file == SIDECAR_FILE for p in found):
        found += _check_reading(storage, name)
    return found


def find_strange_names(storage: Storage) -> list[Problem]:
    """List links and folders with invalid names, which may be meant as experts but are not listed."""
    found = []
    for name, kind in storage.list_kinds().items():
        if kind == "link" and name != MARKER:
            found.append(Problem(expert="", file=name, message=refuse_link(storage.url, name)))
        elif kind == "folder" and name[0] not in "._" and not is_name(name):
            message = "is not listed as an expert, because its name is not allowed: rename the folder"
            found.append(Problem(expert="", file=escape(name, keep="", longest=200), message=message))
    return found


def find_artifact_problems(storage: Storage) -> list[Problem]:
    """Read all artifacts completely and list their faults."""
    found = []
    for path, kind in storage.walk(ARTIFACTS).items():
        fault = find_artifact_fault(storage, path) if kind == "file" else f"is {KIND_WORDS[kind]}, not a file"
        if fault:
            is_trained = path.startswith(tuple(f"{ARTIFACTS}/{algorithm}/" for algorithm in TRAINED))
            advice = RESTORE if is_trained else "delete it, it will be computed again when needed"
            found.append(Problem(expert="", file=path, message=f"{fault}: {advice}"))
    return [*found, *_find_missing_tables(storage)]


def _find_missing_tables(storage: Storage) -> list[Problem]:
    """List the tables without which skills cannot be used for tasks."""
    try:
        entries = catalog.list_entries(storage)
        hashes = catalog.identify_experts(storage, [entry.name for entry in entries])
    except (LoraryError, OSError):
        return []  # a problem of an expert, which is found with it
    return [
        Problem(expert="", file=path, message=f"the table of skills {quote(skills)} is missing: {RESTORE}")
        for key, skills in list_tables(entries, hashes).items()
        if storage.find_kind(path := make_path(key)) is None
    ]


def _say_strange(storage: Storage, path: str, kind: Kind) -> str:
    if kind == "link":
        return refuse_link(storage.url, path)
    return f"must be a file, found {KIND_WORDS[kind]}: restore the file, or add the expert again"


def _check_sidecar(storage: Storage, name: str, files: Collection[str]) -> list[Problem]:
    path = f"{name}/{SIDECAR_FILE}"
    try:
        sidecar = parse_sidecar_bytes(storage.read(path), storage.path(path))
    except (LoraryError, OSError) as error:
        return [Problem(expert=name, file=SIDECAR_FILE, message=str(error))]
    hashes = {WEIGHTS_FILE: sidecar.weights_sha256, CONFIG_FILE: sidecar.config_sha256}
    found = _check_name(sidecar, name)
    for file, expected in hashes.items():
        if expected is not None and file in files:
            found += _check_hash(storage, name, file, expected)
    return found


def _check_name(sidecar: Sidecar, name: str) -> list[Problem]:
    if sidecar.name == name:
        return []
    message = (
        f"has the name {sidecar.name!r}, but its folder is {name!r} (copied or moved by hand?): rename the "
        "expert with `lorary library rename`, or correct 'name' in the file"
    )
    return [Problem(expert=name, file=SIDECAR_FILE, message=message)]


def _check_hash(storage: Storage, name: str, file: str, expected: str) -> list[Problem]:
    found = storage.hash(f"{name}/{file}")
    if found == expected:
        return []
    message = (
        f"has changed since it was stored: {SIDECAR_FILE} has SHA-256 {expected}, found {found}: "
        "restore the file, or add the expert again"
    )
    return [Problem(expert=name, file=file, message=message)]


def _check_reading(storage: Storage, name: str) -> list[Problem]:
    try:
        # Without the sidecar, whose hashes were checked already, so that other faults are found too.
        check_finite(build_expert(open_expert(storage, name)._replace(sidecar=None), name))
    except (LoraryError, OSError, ValueError) as error:
        return [Problem(expert=name, file="", message=f"cannot be read: {error}")]
    return []
