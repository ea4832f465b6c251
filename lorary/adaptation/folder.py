"""The files of an adaptation's run: the retrieved experts, and the starts of trainings.

run/
├── run.lock             held while a run works here
├── adapt.json           configuration, base model, experts and examples: they identify the run
├── retrieved.json       task -> its experts with their scores, and the tokens that were read
├── starts.json          task -> weights of experts, tokens, error, hash of the start
├── starts/<task>/       an adapter folder for each start
├── training/            the resumable state of the method's training, see ``lorary.training``
├── losses.json          task -> losses of the examples that were measured, and a hash of these
└── seconds.json         time of the sessions so far
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from lorary.errors import TrainingError
from lorary.experts import Expert, check_name, read_peft, write_expert_files
from lorary.experts.folder import replace_folder
from lorary.files import quote
from lorary.files.whole import write_whole
from lorary.training.folder.differences import describe_differences
from lorary.training.folder.digests import hash_json
from lorary.training.folder.run_files import (
    START_OVER,
    has_file,
    has_folder,
    read_record,
    refuse_damage,
    remove,
    sweep,
)
from lorary.training.starts import hash_start

MARKER, RETRIEVED, STARTS = "adapt.json", "retrieved.json", "starts.json"
LOSSES, SECONDS = "losses.json", "seconds.json"
START_FOLDERS, TRAINING = "starts", "training"


class AdaptFolder:
    """The files of one run; the caller holds its lock.

    Args:
        path: the folder.
        identity: the run's identity, as JSON values.
        fresh: remove the files of an earlier run.

    Raises:
        TrainingError: if the folder has another run, or is damaged.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any], *, fresh: bool = False):
        self.path = Path(path)
        with refuse_damage(self.path, START_OVER):
            if fresh:
                # The identity is removed last, so that no other run can use the remaining files as its own.
                for part in (TRAINING, START_FOLDERS, STARTS, RETRIEVED, LOSSES, SECONDS, MARKER):
                    remove(self.path / part)
            sweep(self.path)
        self._check_identity(json.loads(json.dumps(identity)))

    def _check_identity(self, identity: dict[str, Any]) -> None:
        marker = self.path / MARKER
        with refuse_damage(marker, START_OVER):
            known = read_record(marker) if has_file(marker) else None
        if known is None:
            write_whole(marker, json.dumps(identity, indent=2, sort_keys=True))
        elif known != identity:
            raise TrainingError(
                f"{quote(str(self.path))} has another run, which differs in "
                f"{describe_differences(known, identity)}: use another folder, or start over with fresh=True "
                "(--fresh)"
            )
        self.identity = hash_json(identity)

    @property
    def training(self) -> Path:
        """Folder of the method's training."""
        return self.path / TRAINING

    def find_record(self, file: str) -> dict[str, Any] | None:
        """Read a record of this run; None if it was not written yet.

        Raises:
            TrainingError: if it was changed after it was written.
        """
        path = self.path / file
        with refuse_damage(path, f"delete it to compute it again, or {START_OVER}"):
            if not has_file(path):
                return None
            record = read_record(path)
            digest = record.pop("sha256", None)
            if record.get("run") != self.identity or digest != hash_json(record):
                raise ValueError("it was changed after it was written, or belongs to another run")
            found: dict[str, Any] = record["record"]
            return found

    def keep_record(self, file: str, record: Mapping[str, Any]) -> None:
        """Write a record of this run, completely or not at all."""
        sealed: dict[str, Any] = {"run": self.identity, "record": dict(record)}
        write_whole(self.path / file, json.dumps({**sealed, "sha256": hash_json(sealed)}))

    def keep_start(self, task: str, expert: Expert) -> str:
        """Write a start, and return the hash of its weights."""
        folder = self._place_start(task)
        folder.parent.mkdir(exist_ok=True)
        with refuse_damage(folder, START_OVER):
            remove(folder)
        replace_folder(LocalFileSystem(), str(folder), write_expert_files(expert))
        return hash_start(expert)

    def find_start(self, task: str, digest: str) -> Expert:
        """Read a start.

        Raises:
            TrainingError: if it is missing, or was changed.
        """
        folder = self._place_start(task)
        with refuse_damage(folder, f"delete {STARTS} beside it to compute it again, or {START_OVER}"):
            if not has_folder(folder):
                raise ValueError("it is missing")
            expert = read_peft(str(folder))
            if hash_start(expert) != digest:
                raise ValueError("its weights were changed after they were written")
            return expert

    def _place_start(self, task: str) -> Path:
        return self.path / START_FOLDERS / check_name(task)
