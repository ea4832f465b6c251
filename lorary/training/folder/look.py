"""Inspecting a run's folder from outside, to decide whether a run can use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorary.errors import TrainingError
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_files import START_OVER, has_file, has_folder, read_record, refuse_damage
from lorary.training.folder.run_folder import MARKER, count_finished


@dataclass(frozen=True)
class FoundRun:
    """The run in a folder."""

    identity: Mapping[str, Any]
    """The content of its ``run.json``: configuration, base model, examples, starts."""
    num_finished: int
    """Number of its finished units."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its units; empty for runs that do not train experts."""
        examples = self.identity.get("examples")
        return tuple(examples) if isinstance(examples, Mapping) else ()

    @property
    def is_complete(self) -> bool:
        """Whether all of its experts are finished."""
        return bool(self.names) and self.num_finished == len(self.names)


def look_at_run(path: str | Path) -> FoundRun | None:
    """Return the run in a folder; None if there is none.

    Raises:
        TrainingError: if the folder or its ``run.json`` cannot be read, or is damaged.
    """
    folder = Path(path)
    with refuse_damage(folder / MARKER, START_OVER):
        if not has_folder(folder) or not has_file(folder / MARKER):
            return None
        found = FoundRun(read_record(folder / MARKER), 0)
        return FoundRun(found.identity, count_finished(folder, found.names) or 0)


def is_training(path: str | Path) -> bool:
    """Return whether a run is training in an existing folder now."""
    try:
        with hold_run_folder(path):
            return False
    except TrainingError:
        return True
