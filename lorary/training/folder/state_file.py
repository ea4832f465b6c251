"""The saved state of the experts in training: one safetensors file with a hash of all of it.

Its metadata has each expert's progress as JSON, by name. Under a name that no expert may have, it has the
hash of the run's identity and the hash of the state. Files of earlier versions have neither.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lorary.files import LIMITS, open_regular, parse_json_object, quote
from lorary.files.whole import publish
from lorary.training.folder.digests import hash_tensors
from lorary.training.folder.run_files import name_scratch
from lorary.training.progress import UnitProgress

VERSION = 1
SEAL = "_lorary"


class StoredTrainee(NamedTuple):
    """The saved state of one expert in training."""

    tensors: dict[str, Tensor]
    """Its parameters and its optimiser's state."""
    record: dict[str, Any]
    """Its progress, as a JSON object that is not checked yet."""


class StoredState(NamedTuple):
    """The content of a state file."""

    run: str | None
    """The hash of the run's identity; None in a file of an earlier version, which has no hash either."""
    trainees: dict[str, StoredTrainee]
    """Expert name -> its state."""


def write_state(path: Path, run: str, trainees: Mapping[str, tuple[dict[str, Tensor], UnitProgress]]) -> None:
    """Write or replace a state file, completely or not at all.

    Args:
        path: the file.
        run: the hash of the run's identity.
        trainees: expert name -> its tensors and progress, at least one.

    Raises:
        OSError, SafetensorError: if it cannot be written; an existing file is unchanged.
    """
    tensors = {
        f"{name}/{key}": value for name, (parts, _) in trainees.items() for key, value in parts.items()
    }
    texts = {name: json.dumps(asdict(progress)) for name, (_, progress) in trainees.items()}
    seal = {"version": VERSION, "run": run, "sha256": hash_tensors([VERSION, run, texts], tensors)}
    scratch = name_scratch(path.parent)
    try:
        save_file(tensors, scratch, metadata={**texts, SEAL: json.dumps(seal)})
        publish(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def read_state(path: Path) -> StoredState:
    """Read a state, and check its hash. It is not compared with a run.

    Raises:
        OSError: if it cannot be read.
        SafetensorError, FormatError, ValueError: if it is damaged; the message has the fault.
    """
    texts, tensors = read_tensors(path)
    seal = texts.pop(SEAL, None)
    run = None if seal is None else _open_seal(seal, texts, tensors)
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in texts}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition("/")
        if name not in parts:
            raise ValueError(f"tensor {quote(key, 80)} must belong to an expert with progress, found none")
        parts[name][part] = tensor
    for name, own in parts.items():
        if not own:
            raise ValueError(f"expert {quote(name, 80)} must have tensors, found none")
    records = {name: parse_json_object(text.encode(), f"progress of {name}") for name, text in texts.items()}
    return StoredState(run, {name: StoredTrainee(parts[name], records[name]) for name in texts})


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read a file's metadata and its tensors, which must be float32.

    Raises:
        OSError: if it cannot be read.
        SafetensorError, FormatError, ValueError: if it is damaged; the message has the fault.
    """
    with open_regular(path, follow=False) as beginning:
        length = int.from_bytes(beginning.read(8), "little")
    if length > LIMITS["header_mb"].num_bytes:
        raise ValueError(f"its header is too large: {LIMITS['header_mb'].advice}")
    with safe_open(os.fspath(path), framework="pt") as file:
        # Only float32 is written. Other dtypes are refused before PyTorch, which may not support them.
        tensors = {key: _get_float32(file, key) for key in file.keys()}  # noqa: SIM118 (the file is not a mapping)
        return dict(file.metadata() or {}), tensors


def _get_float32(file: Any, key: str) -> Tensor:
    found = file.get_slice(key).get_dtype()
    if found != "F32":
        raise ValueError(f"tensor {quote(key, 80)} must be float32, found {quote(found, 20)}")
    return file.get_tensor(key)


def _open_seal(text: str, texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    seal = parse_json_object(text.encode(), SEAL)
    version, run, digest = (seal.get(key) for key in ("version", "run", "sha256"))
    if type(version) is int and version > VERSION:
        raise ValueError(
            f"it is of version {version}, this version of lorary reads up to {VERSION}: upgrade lorary"
        )
    if digest != hash_tensors([version, run, texts], tensors) or not isinstance(run, str):
        raise ValueError("it was changed after it was saved: its SHA-256 differs")
    return run
