"""Reports of loss curves to TensorBoard and Weights & Biases while a training runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lorary.training.loop.event import TrainEvent

Write = Callable[[str, float, int], None]
"""Takes a curve's name, such as ``poetry/loss``, a value and a step."""


@dataclass(frozen=True)
class Tracker:
    """An entry of the table of trackers."""

    package: str
    """The package that it needs."""
    install: str
    """How it is installed."""
    open: Callable[[Path, Mapping[str, Any], ExitStack], Write]
    """Opens it: takes the run's folder, the settings, and what closes it at the end."""


def _open_tensorboard(folder: Path, settings: Mapping[str, Any], closing: ExitStack) -> Write:
    # Imported here, because it is optional.
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))
    closing.callback(writer.close)
    return lambda name, value, step: writer.add_scalar(name, value, step)


def _open_wandb(folder: Path, settings: Mapping[str, Any], closing: ExitStack) -> Write:
    import wandb

    # Of a project that the user's own environment may name otherwise.
    run = wandb.init(project="lorary", name=folder.name, dir=str(folder), config=dict(settings))
    closing.callback(run.finish)
    defined: set[str] = set()

    def write(name: str, value: float, step: int) -> None:
        unit = name.rpartition("/")[0]
        if unit not in defined:
            # Charts have the unit's own steps on their axis, not the number of calls.
            run.define_metric(f"{unit}/*", step_metric=f"{unit}/step")
            defined.add(unit)
        run.log({name: value, f"{unit}/step": step})

    return write


TRACKERS: dict[str, Tracker] = {
    "tensorboard": Tracker("tensorboard", "pip install tensorboard", _open_tensorboard),
    "wandb": Tracker("wandb", "pip install wandb", _open_wandb),
}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose packages are not installed, before anything is trained.

    Raises:
        ValueError: with what to install.
    """
    missing = [name for name in names if find_spec(TRACKERS[name].package) is None]
    if missing:
        lacks = [(name, TRACKERS[name].package, TRACKERS[name].install) for name in missing]
        told = "; ".join(f"{name} needs the package {package}: {install}" for name, package, install in lacks)
        raise ValueError(f"--report-to {told}")


def tell_all(*listeners: Callable[[TrainEvent[Any]], None] | None) -> Callable[[TrainEvent[Any]], None]:
    """Join functions for ``on_progress``; those that are None are left out."""
    known = [listener for listener in listeners if listener is not None]

    def tell(event: TrainEvent[Any]) -> None:
        for listener in known:
            listener(event)

    return tell


@contextmanager
def report_curves(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any]
) -> Iterator[Callable[[TrainEvent[Any]], None]]:
    """Report training and validation losses of each expert; yields a function for ``on_progress``.

    A resumed run reports its earlier losses again, at the same steps.

    Args:
        names: keys of ``TRACKERS``; none for no reports.
        folder: the run's folder, where trackers may write.
        settings: the training's settings.
    """
    with ExitStack() as closing:
        if names:
            folder.mkdir(parents=True, exist_ok=True)
        writers = [TRACKERS[name].open(folder, settings, closing) for name in names]
        told: dict[str, int] = {}

        def tell(event: TrainEvent[Any]) -> None:
            for unit, progress in event.progress.items() if writers else ():
                curves = {"loss": progress.train_curve, "validation_loss": progress.validation_curve}
                for kind, curve in curves.items():
                    name = f"{unit}/{kind}"
                    for step, value in curve[told.get(name, 0) :]:
                        for write in writers:
                            write(name, value, step)
                    told[name] = len(curve)

        yield tell
