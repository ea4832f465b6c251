"""Finished experts of a run: adapter folders with a record of how they were trained and what they hash to.

finished/<name>/
├── adapter_model.safetensors, adapter_config.json, expert.json, README.md
└── progress.json        the curves; the run and the expert they are of; hashes of these files and of itself
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from fsspec.implementations.local import LocalFileSystem

from lorary.experts import Expert, read_card, read_peft, write_expert_files
from lorary.experts.folder import replace_folder
from lorary.experts.stored_factors import StoredFactors
from lorary.files import quote, sync_folder
from lorary.training.config import TrainConfig, keep_effective
from lorary.training.digests import hash_file, hash_json
from lorary.training.progress import Plan, Progress, parse_progress
from lorary.training.run_files import has_file, has_folder, read_record, remove

RECORD = "progress.json"
WEIGHTS = "adapter_model.safetensors"
FILES = (WEIGHTS, "adapter_config.json", "expert.json")
# What a record says besides the progress; records of earlier versions say none of it.
OWN_KEYS = ("expert", "run", "files", "sha256")


@dataclass(frozen=True, kw_only=True)
class ExpectedExpert:
    """What a finished expert of a run must be like."""

    name: str
    """Its name."""
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Module path -> shapes of ``a`` and ``b``."""
    base_fingerprint: str
    """The base model's."""
    data_digest: str
    """Of its examples."""
    config: TrainConfig
    """How the run trains."""
    plan: Plan
    """Its training."""


def write_finished(folder: Path, run: str, expert: Expert, progress: Progress) -> None:
    """Write a finished expert's folder, whole or not at all; one that is there is replaced.

    Args:
        folder: its place.
        run: the hash of what the run is.
        expert: the expert.
        progress: its training.
    """
    files = write_expert_files(expert)
    record: dict[str, Any] = {
        **asdict(progress),
        "expert": expert.name,
        "run": run,
        "files": {name: sha256(files[name]).hexdigest() for name in FILES},
    }
    record["sha256"] = hash_json(record)
    remove(folder)
    content = (json.dumps(record, separators=(",", ":")) + "\n").encode()
    replace_folder(LocalFileSystem(), str(folder), {RECORD: content, **files})
    sync_folder(folder.parent)


def read_finished(folder: Path, run: str, expected: ExpectedExpert) -> tuple[Expert, Progress] | None:
    """Read a finished expert, if it is the one expected and as it was written.

    A folder of an earlier version has no hashes but that of its weights: there the configuration, the card
    and the curves are checked for what must hold of them, but an altered loss is not noticed.

    Args:
        folder: its place.
        run: the hash of what the run is.
        expected: what it must be like.

    Returns:
        The expert and its training; None if there is no folder, or one without a record, as a killed run of
        an earlier version leaves it.

    Raises:
        OSError: if a file cannot be read.
        LoraryError, ValueError: saying what is wrong.
    """
    if not has_folder(folder) or not has_file(folder / RECORD):
        return None
    record = read_record(folder / RECORD)
    hashes = _take_hashes(record, run, expected.name)
    found = {name: _hash_present(folder, name) for name in FILES}
    for name in FILES:
        if hashes is not None and found[name] != hashes.get(name):
            raise ValueError(f"{name} is not the file that was written: its SHA-256 differs")
    if read_card(LocalFileSystem(), str(folder)).weights_sha256 not in (None, found[WEIGHTS]):
        raise ValueError(f"{WEIGHTS} is not the file that expert.json is of: its SHA-256 differs")
    expert = read_peft(str(folder))
    for fault in _find_faults(expert, expected):
        raise ValueError(fault)
    progress = parse_progress(record, expected.plan)
    if not progress.is_finished or expert.card.provenance.get("steps") != progress.step:
        raise ValueError(f"{RECORD} says {progress.step} steps, which is not when its training ended")
    return expert, progress


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


def _find_faults(expert: Expert, expected: ExpectedExpert) -> Iterator[str]:
    """Say in what an expert differs from the one that this run would have made."""
    card, provenance = expert.card, expert.card.provenance
    if expert.name != expected.name:
        yield f"it is the folder of expert {quote(expert.name, 140)}, not of {expected.name!r}"
    if card.base_fingerprint != expected.base_fingerprint:
        yield f"it is of base model {quote(card.base_fingerprint, 80)}, not {expected.base_fingerprint!r}"
    if _find(provenance, "data", "digest") != expected.data_digest:
        yield "it was trained on other examples"
    if not _has_settings(provenance.get("training"), expected.config):
        yield "it was trained with another configuration"
    yield from _find_shape_faults(expert, expected)


def _find_shape_faults(expert: Expert, expected: ExpectedExpert) -> Iterator[str]:
    outlines = {path: (tuple(pair.a.shape), tuple(pair.b.shape)) for path, pair in expert.outlines.items()}
    different = sorted(
        path for path in {**outlines, **expected.shapes} if outlines.get(path) != expected.shapes.get(path)
    )
    if different:
        path = different[0]
        yield (
            f"{len(different)} of its modules are not this run's, such as {quote(path, 100)}: its factors "
            f"are {outlines.get(path, 'missing')}, must be {expected.shapes.get(path, 'absent')}"
        )
    if any(tensor.dtype != torch.float32 for pair in expert.outlines.values() for tensor in pair):
        yield "its factors are not float32"
    # What a run writes has its scale folded in: PEFT must multiply with 1.
    if isinstance(expert.factors, StoredFactors) and any(
        s != 1 for s in expert.factors.layout.scales.values()
    ):
        yield "its adapter_config.json has another alpha than was written"


def _find(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _has_settings(found: Any, config: TrainConfig) -> bool:
    ours = json.loads(json.dumps(keep_effective(asdict(config))))
    return isinstance(found, Mapping) and keep_effective(found) == ours
