"""A run's folder: what a killed run is taken up from, and what it has finished.

run/
├── run.lock             held while a run is training here
├── run.json             what the run is: another configuration, base or data is refused
├── state.safetensors    the experts in training, replaced whole from time to time
└── finished/<name>/     experts that are done, as adapter folders
    └── progress.json    their loss curves

What is read back is what this run wrote: it carries hashes, and is refused where they differ. That finds
damage and mistakes; whoever can write to the folder can also write hashes. Files of earlier versions have
none, but are held against what the run's configuration, data and base model allow.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic

from safetensors import SafetensorError
from torch import Tensor

from lorary.errors import TrainingError
from lorary.experts import check_name
from lorary.files import escape, quote, shorten, write_whole
from lorary.files.whole import sync_folder
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
NUM_DIFFERENCES = 4

Trainees = dict[str, tuple[dict[str, Tensor], UnitProgress]]
"""Expert name -> its tensors and its progress."""


class RunFolder(Generic[Product]):
    """The files of one training run.

    Args:
        path: the folder; made if it is missing.
        identity: what makes this run this run (configuration, base, data), as JSON values.
        form: how finished units are kept as files.
        fresh: throw away what an earlier run left.

    Raises:
        TrainingError: if the folder holds another run, or is damaged.
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
                # Last of all what the rest belongs to: until then no other run can take it for its own.
                for part in (FINISHED, STATE, MARKER):
                    remove(self.path / part)
            self.path.mkdir(parents=True, exist_ok=True)
            sweep(self.path)
        self._open_finished()
        self._check_identity(json.loads(json.dumps(identity)))

    def _open_finished(self) -> None:
        folder = self.path / FINISHED
        with refuse_damage(folder, f"put the folder itself there, or {START_OVER}"):
            if not has_folder(folder):
                folder.mkdir()
            sweep(folder)

    def _check_identity(self, identity: dict[str, Any]) -> None:
        marker = self.path / MARKER
        with refuse_damage(marker, START_OVER):
            self._was_known = has_file(marker)
            known = read_record(marker) if self._was_known else identity
        different = _find_differences(known, identity)
        if different:
            more = f" and {len(different) - NUM_DIFFERENCES} more" if len(different) > NUM_DIFFERENCES else ""
            raise TrainingError(
                f"{quote(str(self.path))} holds another run, which differs in "
                f"{'; '.join(different[:NUM_DIFFERENCES])}{more}: "
                "take another folder, or start over with fresh=True (--fresh)"
            )
        self._run = hash_json(known)
        if not self._was_known:
            write_whole(marker, json.dumps(identity, indent=2, sort_keys=True))

    def finished(self, name: str, plan: UnitPlan) -> tuple[Product, UnitProgress] | None:
        """Give what a finished unit became, and its curves, or None.

        Args:
            name: the unit's.
            plan: its training.

        Raises:
            TrainingError: if what is there is damaged, another unit's or another run's.
        """
        folder = self.path / FINISHED / check_name(name)
        advice = (
            f"delete this folder to train expert {name!r} again (the others are kept), or start "
            "over with fresh=True (--fresh)"
        )
        with refuse_damage(folder, advice):
            return read_finished(folder, self._run, name, self.form, plan)

    def finish(self, name: str, product: Product, progress: UnitProgress) -> None:
        """Keep a finished unit, whole or not at all.

        Raises:
            TrainingError: if it cannot be written; what it learnt is in the state saved before.
        """
        folder = self.path / FINISHED / check_name(name)
        try:
            write_finished(folder, self._run, name, self.form, product, progress)
        except OSError as error:
            raise TrainingError(
                f"cannot keep finished expert {name!r} in {quote(str(folder))}: "
                f"{shorten(escape(str(error), keep=''), 300)}. The state saved before has it: make room, "
                "then run the same command to go on from it"
            ) from error

    def save_state(self, trainees: Mapping[str, tuple[dict[str, Tensor], UnitProgress]]) -> None:
        """Replace the saved state of the experts in training, in one atomic step; without any, remove it.

        Raises:
            TrainingError: if it cannot be written; the earlier state stays.
        """
        path = self.path / STATE
        try:
            if trainees:
                write_state(path, self._run, trainees)
            else:
                # safetensors would write an empty file that it cannot read.
                path.unlink(missing_ok=True)
                sync_folder(self.path)
        except (OSError, SafetensorError) as error:
            size = sum(value.nbytes for tensors, _ in trainees.values() for value in tensors.values())
            raise TrainingError(
                f"cannot save the run's state ({size / 1e6:.0f} MB) in {quote(str(self.path))}: "
                f"{shorten(escape(str(error), keep=''), 300)}. "
                "The state saved before is whole: make room, then run the same command to go on from it"
            ) from error

    def load_state(
        self,
        plans: Mapping[str, UnitPlan],
        *,
        find_fault: Callable[[Mapping[str, Tensor], UnitProgress], str | None],
        num_slots: int,
    ) -> Trainees:
        """Give the saved state of the units that were in training; empty if there is none.

        Args:
            plans: of all units of the run, by name.
            find_fault: says what is wrong with a unit's tensors after its progress, or None.
            num_slots: how many units are trained side by side at most.

        Raises:
            TrainingError: if the file is damaged, or of another run.
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
                    f"it has {len(state.trainees)} experts, this run trains {num_slots} at a time"
                )
            return {name: _take_up(state, name, plans, find_fault) for name in state.trainees}

    def _check_run(self, state: StoredState) -> None:
        if state.run is None and not self._was_known:
            raise ValueError(f"nothing says which run it is of: {MARKER} was missing beside it")
        if state.run not in (None, self._run):
            raise ValueError("it is of another run")


def count_finished(path: str | Path, names: Iterable[str]) -> int | None:
    """Count the experts that a run has finished, without reading them; None if no run is there.

    Raises:
        ValueError: if a name is unsafe.
        OSError: if the system does not say what is there.
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
        raise ValueError(f"it has an expert {quote(name, 140)}, which is not of this run")
    tensors, record = state.trainees[name]
    progress = parse_progress(record, plans[name])
    fault = find_fault(tensors, progress)
    if fault:
        raise ValueError(f"expert {name!r}: {fault}")
    return tensors, progress


def _find_differences(known: dict[str, Any], ours: dict[str, Any], above: str = "") -> list[str]:
    """Name the keys whose values differ, down to those of nested dicts, with both values."""
    different = []
    for key in sorted(known.keys() | ours.keys()):
        there, here = known.get(key), ours.get(key)
        shown = f"{above}{shorten(escape(key, keep=''), 60)}"
        if isinstance(there, dict) and isinstance(here, dict):
            different += _find_differences(there, here, f"{shown} ")
        elif there != here:
            different.append(f"{shown} ({quote(there, 50)} there, {quote(here, 50)} here)")
    return different
