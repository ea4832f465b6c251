"""A run's folder: the saved state that a killed run is resumed from, and finished units.

run/
├── run.lock             locked while a run is training here
├── run.json             the run's identity: another configuration, base or data is refused
├── state.safetensors    the experts in training, replaced completely from time to time
└── finished/<name>/     finished experts, as adapter folders
    └── progress.json    their loss curves

Files have hashes, and a file with another hash is refused. This detects damage and mistakes, but not changes
made on purpose, since anyone who can write to the folder can also write hashes. Files of earlier versions
have no hashes; they are checked against the run's configuration, data and base model.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic

from safetensors import SafetensorError
from torch import Tensor

from lorary.errors import TrainingError
from lorary.experts import check_name
from lorary.files import escape, quote, say_count, write_whole
from lorary.files.whole import sync_folder
from lorary.training.folder.differences import describe_differences
from lorary.training.folder.digests import hash_json
from lorary.training.folder.finished import RECORD, Product, ProductForm, read_finished, write_finished
from lorary.training.folder.run_files import (
    START_OVER,
    has_file,
    has_folder,
    read_record,
    read_status,
    refuse_damage,
    remove,
    sweep,
)
from lorary.training.folder.state_file import StoredState, read_state, write_state
from lorary.training.progress import UnitPlan, UnitProgress, parse_progress

MARKER, STATE, FINISHED = "run.json", "state.safetensors", "finished"

Trainees = dict[str, tuple[dict[str, Tensor], UnitProgress]]
"""Expert name -> its tensors and its progress."""


class RunFolder(Generic[Product]):
    """The files of one training run.

    Args:
        path: the folder; it is made if missing.
        identity: the run's identity (configuration, base, data), as JSON values.
        form: the file format of finished units.
        fresh: remove the files of an earlier run.

    Raises:
        TrainingError: if the folder has another run, or is damaged.
    """

    def __init__(
        self,
        path: str | Path,
        identity: Mapping[str, Any],
        form: ProductForm[Product],
        *,
        fresh: bool = False,
    ):
        self.path, self.form = Path(path), form
        with refuse_damage(self.path, START_OVER):
            if fresh:
                # The identity is removed last, so that no other run can use the remaining files as its own.
                for part in (FINISHED, STATE, MARKER):
                    remove(self.path / part)
            self.path.mkdir(parents=True, exist_ok=True)
            sweep(self.path)
        self._open_finished()
        self._check_identity(json.loads(json.dumps(identity)))

    def _open_finished(self) -> None:
        folder = self.path / FINISHED
        with refuse_damage(folder, f"restore the folder, or {START_OVER}"):
            if not has_folder(folder):
                folder.mkdir()
            sweep(folder)

    def _check_identity(self, identity: dict[str, Any]) -> None:
        marker = self.path / MARKER
        with refuse_damage(marker, START_OVER):
            self._was_known = has_file(marker)
            known = read_record(marker) if self._was_known else identity
        if different := describe_differences(known, identity):
            raise TrainingError(
                f"{quote(str(self.path))} has another run, which differs in {different}: "
                "use another folder, or start over with fresh=True (--fresh)"
            )
        self._run = hash_json(known)
        if not self._was_known:
            write_whole(marker, json.dumps(identity, indent=2, sort_keys=True))

    def finished(self, name: str, plan: UnitPlan) -> tuple[Product, UnitProgress] | None:
        """Return the product and the progress of a finished unit; None if it is not finished.

        Args:
            name: the unit's name.
            plan: its plan.

        Raises:
            TrainingError: if its folder is damaged, or of another unit or run.
        """
        folder = self.path / FINISHED / check_name(name)
        advice = (
            f"delete this folder to train expert {name!r} again (other experts are kept), or start "
            "over with fresh=True (--fresh)"
        )
        with refuse_damage(folder, advice):
            return read_finished(folder, self._run, name, self.form, plan)

    def finish(self, name: str, product: Product, progress: UnitProgress) -> None:
        """Write a finished unit, completely or not at all.

        Raises:
            TrainingError: if it cannot be written; the state saved before contains it.
        """
        folder = self.path / FINISHED / check_name(name)
        try:
            write_finished(folder, self._run, name, self.form, product, progress)
        except OSError as error:
            raise TrainingError(
                f"cannot write finished expert {name!r} to {quote(str(folder))}: "
                f"{escape(str(error), keep='', longest=300)}. The state saved before contains it: free some "
                "space, then run the same command to resume"
            ) from error

    def save_state(self, trainees: Mapping[str, tuple[dict[str, Tensor], UnitProgress]]) -> None:
        """Replace the saved state of the experts in training atomically; without any expert, remove it.

        Args:
            trainees: expert name -> its tensors and its progress.

        Raises:
            TrainingError: if it cannot be written; the earlier state is kept.
        """
        path = self.path / STATE
        try:
            if trainees:
                write_state(path, self._run, trainees)
            else:
                # Without tensors, safetensors would write a file that it cannot read.
                path.unlink(missing_ok=True)
                sync_folder(self.path)
        except (OSError, SafetensorError) as error:
            size = sum(value.nbytes for tensors, _ in trainees.values() for value in tensors.values())
            raise TrainingError(
                f"cannot save the run's state ({size / 1e6:.0f} MB) in {quote(str(self.path))}: "
                f"{escape(str(error), keep='', longest=300)}. "
                "The state saved before is intact: free some space, then run the same command to resume"
            ) from error

    def load_state(
        self,
        plans: Mapping[str, UnitPlan],
        *,
        find_fault: Callable[[Mapping[str, Tensor], UnitProgress], str | None],
        num_slots: int,
    ) -> Trainees:
        """Return the saved state of the units that were in training; empty if there is none.

        Args:
            plans: unit -> plan, for all units of the run.
            find_fault: function of a unit's tensors and progress that describes a fault, or returns None.
            num_slots: maximum number of units in training at the same time.

        Raises:
            TrainingError: if the file is damaged, or belongs to another run.
        """
        path = self.path / STATE
        advice = "delete it to train its experts from the start (finished ones are kept)"
        with refuse_damage(path, advice, "the saved state "):
            if not has_file(path):
                return {}
            state = read_state(path)
            self._check_run(state)
            if len(state.trainees) > num_slots:
                raise ValueError(
                    f"it must have at most {say_count(num_slots, 'expert')}, the number of slots, found "
                    f"{len(state.trainees)}"
                )
            return {name: _take_up(state, name, plans, find_fault) for name in state.trainees}

    def _check_run(self, state: StoredState) -> None:
        if state.run is None and not self._was_known:
            raise ValueError(f"its run is not known, because {MARKER} was missing")
        if state.run not in (None, self._run):
            raise ValueError("it belongs to another run")


def count_finished(path: str | Path, names: Iterable[str]) -> int | None:
    """Count the finished experts of a run, without reading them; None if the folder has no run.

    Args:
        path: the run's folder.
        names: names of its experts.

    Raises:
        ValueError: if a name is not safe as a folder's name.
        OSError: if a status cannot be read.
    """
    folder = Path(path)
    if read_status(folder) is None or read_status(folder / MARKER) is None:
        return None
    records = [folder / FINISHED / check_name(name) / RECORD for name in names]
    return sum(read_status(record) is not None for record in records)


def _take_up(
    state: StoredState,
    name: str,
    plans: Mapping[str, UnitPlan],
    find_fault: Callable[[Mapping[str, Tensor], UnitProgress], str | None],
) -> tuple[dict[str, Tensor], UnitProgress]:
    if name not in plans:
        raise ValueError(f"it has an expert {quote(name, 140)}, which is not one of this run")
    tensors, record = state.trainees[name]
    progress = parse_progress(record, plans[name])
    fault = find_fault(tensors, progress)
    if fault:
        raise ValueError(f"expert {name!r}: {fault}")
    return tensors, progress
