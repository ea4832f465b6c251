"""Training many experts at once, from the first step or from where a killed run was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorary.experts import Expert, check_name
from lorary.models import BaseModel, find_layers, layer_shape
from lorary.models.attach import attach_slots
from lorary.models.layers import BaseLayer
from lorary.training.config import TrainConfig, list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.expert_form import ExpertForm
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.objectives.lora import LoraExperts
from lorary.training.progress import UnitProgress


@dataclass(frozen=True)
class TrainOutcome:
    """What a run gives: experts and their curves."""

    experts: dict[str, Expert]
    """In the order they were asked for."""
    progress: dict[str, UnitProgress]
    """Steps, tokens, loss curves, best validation loss."""


def train_experts(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    run_folder: str | Path,
    *,
    fresh: bool = False,
    on_progress: Callable[[TrainEvent[Expert]], None] | None = None,
) -> TrainOutcome:
    """Train one expert per entry, many at once, resuming whatever an earlier call left in the run folder.

    Args:
        base: the base model, trained on where it is; carries no experts before and after.
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
    form = _outline_experts(base, layers, examples, config)
    with hold_run_folder(run_folder):
        folder = RunFolder(run_folder, _identify(base, examples, config), form, fresh=fresh)
        stack = attach_slots(base.model, layers, min(config.num_slots, len(examples)), config.rank)
        try:
            objective = LoraExperts(stack, base, examples, config)
            done = Loop(objective, examples, config.loop, folder=folder, after_pass=on_progress).run()
        finally:
            stack.detach()
    return TrainOutcome(
        {name: expert for name, (expert, _) in done.items()},
        {name: progress for name, (_, progress) in done.items()},
    )


def _check_examples(base: BaseModel, examples: Mapping[str, TrainingExamples]) -> None:
    if not examples:
        raise ValueError("there is nothing to train: give at least one expert's examples")
    for name, found in examples.items():
        check_training_examples(check_name(name), found, base.model)


def _outline_experts(
    base: BaseModel,
    layers: Mapping[str, BaseLayer],
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
) -> ExpertForm:
    sizes = {path: layer_shape(layer) for path, layer in layers.items()}
    return ExpertForm(
        shapes={path: ((config.rank, i), (o, config.rank)) for path, (i, o) in sizes.items()},
        base_fingerprint=base.fingerprint,
        digests={name: found.digest for name, found in examples.items()},
        config=config,
    )


def _identify(
    base: BaseModel, examples: Mapping[str, TrainingExamples], config: TrainConfig
) -> dict[str, object]:
    return {
        "configuration": list_effective(config),
        "base model": base.fingerprint,
        "examples": {name: found.digest for name, found in examples.items()},
    }
