"""The folder of a run's state: that of a killed run of the same training, otherwise a free one."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from lorary.cli.commands.train.wanted import Wanted
from lorary.experts import hash_weights
from lorary.models import BaseModel
from lorary.training import TrainConfig
from lorary.training.folder.look import FoundRun, is_training, look_at_run
from lorary.training.train import identify_run

EXPERTS = "experts"
"""The method whose runs are named by the experts alone."""


@dataclass(frozen=True, kw_only=True)
class RunPlace:
    """A folder for a run, and the run that will use it."""

    folder: Path
    """The folder."""
    names: tuple[str, ...]
    """The experts of the run. A killed run may have finished some that are in the library already."""
    fresh: bool
    """Whether the files of another run in the folder are removed."""
    passed: tuple[Path, ...]
    """Folders of unfinished runs of other trainings, which are kept."""


def name_run_folder(library: str, apart: str | None, method: str = EXPERTS) -> Path:
    """Name a folder for a run's state: beside a local library, else under ``./runs``.

    Args:
        library: folder or URL of the library.
        apart: a suffix for runs that do not train one expert per task; else None.
        method: the method of training; all but experts have folders of their own.
    """
    words = [word for word in (method if method != EXPERTS else None, apart) if word]
    name = library.rstrip("/").rpartition("/")[2] or "library"
    place = Path("runs") / name if "://" in library else Path(library)
    return place.with_name(f"{place.name}-run" + "".join(f"-{word}" for word in words))


def choose_run_place(
    first: Path, wanted: Wanted, base: BaseModel, config: TrainConfig, stored: Collection[str], *, fresh: bool
) -> RunPlace:
    """Choose among a folder and those beside it, ``x``, ``x-2``, ``x-3`` and so on.

    Args:
        first: the first folder.
        wanted: the experts of the command.
        base: the base model.
        config: the configuration.
        stored: the names of the library's experts.
        fresh: whether a killed run of the same training starts over.

    Raises:
        TrainingError: if the run in a folder is damaged.
    """
    passed: list[Path] = []
    for number in count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        run = look_at_run(folder)
        if run is None:
            return RunPlace(folder=folder, names=wanted.missing, fresh=fresh, passed=tuple(passed))
        if is_same_run(run, wanted, base, config):
            names = wanted.missing if fresh else run.names
            return RunPlace(folder=folder, names=names, fresh=fresh, passed=tuple(passed))
        # The experts of a complete run are in the library, so only its curves are lost.
        if run.is_complete and set(run.names) <= set(stored) and not is_training(folder):
            return RunPlace(folder=folder, names=wanted.missing, fresh=True, passed=tuple(passed))
        passed.append(folder)
    raise AssertionError("there is always a free folder")


def use_run_place(
    folder: Path, wanted: Wanted, base: BaseModel, config: TrainConfig, *, fresh: bool
) -> RunPlace:
    """Use the folder of ``--run``; training refuses the state of another run in it, unless it starts over."""
    run = look_at_run(folder) if not fresh else None
    is_same = run is not None and is_same_run(run, wanted, base, config)
    names = run.names if run is not None and is_same else wanted.missing
    return RunPlace(folder=folder, names=names, fresh=fresh, passed=())


def is_same_run(run: FoundRun, wanted: Wanted, base: BaseModel, config: TrainConfig) -> bool:
    """Return whether a run trains what is wanted: all that is missing, and nothing else that is unknown."""
    if not set(wanted.missing) <= set(run.names) <= set(wanted.examples):
        return False
    digests = {name: wanted.examples[name].digest for name in run.names}
    starts = {name: wanted.start_digests[name] for name in run.names if name in wanted.start_digests}
    general = None if wanted.on_top_of is None else hash_weights(wanted.on_top_of)
    begun = None if wanted.starts is None else starts
    return run.identity == identify_run(base, digests, config, begun, general)
