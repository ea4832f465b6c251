"""A run's folder: what a killed run is taken up from, and what it has finished.

run/
├── run.lock             held while a run is training here
├── run.json             what the run is: another configuration, base or data is refused
├── state.safetensors    the experts in training, replaced whole from time to time
└── finished/<name>/     experts that are done, as adapter folders
    └── progress.json    their loss curves
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lorary.errors import TrainingError
from lorary.experts import Expert, read_peft, write_peft
from lorary.files import publish, write_whole
from lorary.training.trainee import Progress


class RunFolder:
    """The files of one training run.

    Args:
        path: the folder; made if it is missing.
        identity: what makes this run this run (configuration, base, data), as JSON values.
        fresh: throw away what an earlier run left.

    Raises:
        TrainingError: if the folder holds another run.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any], *, fresh: bool = False):
        self.path = Path(path)
        if fresh:
            for part in ("finished", "state.safetensors", "run.json"):
                _remove(self.path / part)
        (self.path / "finished").mkdir(parents=True, exist_ok=True)
        self._check_identity(json.loads(json.dumps(identity)))

    def _check_identity(self, identity: dict[str, Any]) -> None:
        marker = self.path / "run.json"
        if not marker.exists():
            write_whole(marker, json.dumps(identity, indent=2, sort_keys=True))
            return
        known = _read_json(marker)
        different = _find_differences(known, identity)
        if different:
            raise TrainingError(
                f"{str(self.path)!r} holds another run, which differs in {'; '.join(different)}: "
                "take another folder, or start over with fresh=True (--fresh)"
            )

    def finished(self, name: str) -> tuple[Expert, Progress] | None:
        """Give a finished expert and its curves, or None."""
        folder = self.path / "finished" / name
        record = folder / "progress.json"
        if not record.exists():
            return None
        return read_peft(str(folder), name=name), _progress_from(_read_json(record))

    def finish(self, expert: Expert, progress: Progress) -> None:
        """Keep a finished expert: its weights first, then the record that says they are whole."""
        folder = self.path / "finished" / expert.name
        _remove(folder)
        write_peft(expert, str(folder))
        write_whole(folder / "progress.json", json.dumps(asdict(progress)))

    def save_state(self, trainees: Mapping[str, tuple[dict[str, Tensor], Progress]]) -> None:
        """Replace the saved state of the experts in training, in one atomic step; without any, remove it.

        Raises:
            TrainingError: if it cannot be written; the earlier state stays.
        """
        if not trainees:
            # safetensors would write an empty file that it cannot read.
            (self.path / "state.safetensors").unlink(missing_ok=True)
            return
        tensors = {
            f"{name}/{key}": value for name, (parts, _) in trainees.items() for key, value in parts.items()
        }
        metadata = {name: json.dumps(asdict(progress)) for name, (_, progress) in trainees.items()}
        scratch = self.path / "state.writing"
        try:
            save_file(tensors, scratch, metadata=metadata)
            publish(scratch, self.path / "state.safetensors")
        except (OSError, SafetensorError) as error:
            size = sum(value.nbytes for value in tensors.values())
            raise TrainingError(
                f"cannot save the run's state ({size / 1e6:.0f} MB) in {str(self.path)!r}: {error}. "
                "The state saved before is whole: make room, then run the same command to go on from it"
            ) from error
        finally:
            scratch.unlink(missing_ok=True)

    def load_state(self) -> dict[str, tuple[dict[str, Tensor], Progress]]:
        """Give the saved state of the experts that were in training; empty if there is none.

        Raises:
            TrainingError: if the file is damaged.
        """
        path = self.path / "state.safetensors"
        if not path.exists():
            return {}
        try:
            with safe_open(path, framework="pt") as file:
                progress = {
                    name: _progress_from(json.loads(text)) for name, text in (file.metadata() or {}).items()
                }
                parts: dict[str, dict[str, Tensor]] = {name: {} for name in progress}
                for key in file.keys():  # noqa: SIM118 (the file is no mapping)
                    name, _, part = key.rpartition("/")
                    parts[name][part] = file.get_tensor(key)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"the saved state {str(path)!r} is damaged ({error}): "
                "delete it to train its experts from the start"
            ) from error
        return {name: (parts[name], progress[name]) for name in progress}


def _find_differences(known: dict[str, Any], ours: dict[str, Any], above: str = "") -> list[str]:
    """Name the keys whose values differ, down to those of nested dicts, with both values."""
    different = []
    for key in sorted(known.keys() | ours.keys()):
        there, here = known.get(key), ours.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            different += _find_differences(there, here, f"{above}{key} ")
        elif there != here:
            different.append(f"{above}{key} ({there!r} there, {here!r} here)")
    return different


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise TrainingError(
            f"{str(path)!r} is damaged ({error}): "
            "start over with fresh=True (--fresh), or take another folder"
        ) from error


def _progress_from(record: dict[str, Any]) -> Progress:
    for curve in ("train_curve", "validation_curve"):
        record[curve] = [(int(step), float(loss)) for step, loss in record[curve]]
    return Progress(**record)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
