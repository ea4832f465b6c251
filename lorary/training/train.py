"""Training many experts at once, from the first step or from where a killed run was."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from lorary.experts import Expert, check_name
from lorary.models import BaseModel, checkpoint_layers, find_layers
from lorary.training.config import TrainConfig, keep_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.lock import hold_run_folder
from lorary.training.progress import Progress
from lorary.training.run import Run, TrainEvent
from lorary.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainOutcome:
    """What a run gives: experts and their curves."""

    experts: dict[str, Expert]
    """In the order they were asked for."""
    progress: dict[str, Progress]
    """Steps, tokens, loss curves, best validation loss."""


def train_experts(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    run_folder: str | Path,
    *,
    fresh: bool = False,
    on_progress: Callable[[TrainEvent], None] | None = None,
) -> TrainOutcome:
    """Train one expert per entry, many at once, resuming whatever an earlier call left in the run folder.

    Args:
        base: the base model; carries no experts before and after.
        examples: expert name -> tokens, see ``prepare_examples``.
        config: how to train.
        run_folder: where the resumable state, finished experts and curves are kept.
        fresh: start over instead of resuming.
        on_progress: called after every pass.

    Returns:
        The experts (best validated weights, or the last) and their curves.

    Raises:
        ValueError: if there is nothing to train, an expert's name is unsafe, or the base model cannot read an
            example.
        IncompatibleExpert: if ``target_modules`` match no layer, or the base carries experts already.
        TrainingError: if the folder holds another run or one is training in it, if what is taken up from it
            is damaged (which names the file, and what to do), or if a loss or weight is not finite.
    """
    _check_examples(base, examples)
    layers = find_layers(base.model, config.target_modules)
    with hold_run_folder(run_folder):
        folder = RunFolder(run_folder, _identify(base, examples, config), fresh=fresh)
        return _train(Run(base, layers, examples, config, folder, on_progress))


def _train(run: Run) -> TrainOutcome:
    try:
        run.take_up()
        with checkpoint_layers(run.stack) if run.config.gradient_checkpointing else nullcontext():
            while run.fill_slots():
                run.take_step()
                run.validate()
                run.release_finished()
        run.folder.save_state({})
        return TrainOutcome(
            {name: run.done[name][0] for name in run.examples},
            {name: run.done[name][1] for name in run.examples},
        )
    finally:
        run.stack.detach()


def _check_examples(base: BaseModel, examples: Mapping[str, TrainingExamples]) -> None:
    if not examples:
        raise ValueError("there is nothing to train: give at least one expert's examples")
    for name, found in examples.items():
        check_training_examples(check_name(name), found, base.model)


def _identify(
    base: BaseModel, examples: Mapping[str, TrainingExamples], config: TrainConfig
) -> dict[str, object]:
    return {
        "configuration": keep_effective(asdict(config)),
        "base model": base.fingerprint,
        "examples": {name: found.digest for name, found in examples.items()},
    }
