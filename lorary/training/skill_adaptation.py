"""Adapting skills to a new task with few examples, by a published protocol."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from lorary.experts import Expert
from lorary.experts.skills import SkillSet
from lorary.models import BaseModel
from lorary.training.examples import TrainingExamples
from lorary.training.loop.event import TrainEvent
from lorary.training.objectives.few_shot import FewShotProtocol, list_trials
from lorary.training.objectives.skill_config import AdaptationMode, SkillConfig
from lorary.training.skill_modes import prepare_mode
from lorary.training.skill_training import SkillOutcome, train_skills


@dataclass(frozen=True)
class Adaptation:
    """Skills that were adapted to a task, with one seed."""

    expert: Expert
    """The task's expert; its parents are the skills that were adapted."""
    outcome: SkillOutcome
    """Skills, table and curves of the chosen training."""
    config: SkillConfig
    """The configuration of the chosen training."""
    losses: Mapping[tuple[float, float], float | None]
    """Learning rates of skills and table -> best validation loss, for each training."""


def adapt_skills(
    base: BaseModel,
    task: str,
    examples: TrainingExamples,
    start: SkillSet,
    config: SkillConfig,
    run_folder: str | Path,
    *,
    mode: AdaptationMode = "poly",
    protocol: FewShotProtocol = "given",
    seeds: Sequence[int] | None = None,
    fresh: bool = False,
    on_progress: Callable[[TrainEvent[dict[str, Tensor]]], None] | None = None,
) -> list[Adaptation]:
    """Adapt skills to a new task; killed runs are resumed, and finished ones are read.

    Args:
        base: the base model; see ``train_skills``.
        task: the task's name, and the expert's.
        examples: its examples.
        start: the skills: of a training, or any experts (``make_skill_set``).
        config: rates, steps, ``weighting`` and ``new_rows``; the numbers of skills are those of ``start``.
        run_folder: has a folder for each training.
        mode: what is trained, see ``prepare_mode``.
        protocol: steps and learning rates, see ``list_trials``. Of several trainings, the one with the lowest
            validation loss is chosen.
        seeds: seeds of one adaptation each; None for that of ``config.train``.
        fresh: start over instead of resuming.
        on_progress: called after every pass.

    Returns:
        The adaptation of each seed.

    Raises:
        ValueError: if mode or protocol do not suit, or a choice needs validation examples and there are none;
            and as ``train_skills``.
        TrainingError: as ``train_skills``.
        IncompatibleExpert: as ``train_skills``.

    Source: MHR, arXiv:2211.03831.
    """
    prepared, config = prepare_mode(mode, start, config)
    found = []
    for seed in [config.train.seed] if seeds is None else seeds:
        own = replace(config, train=replace(config.train, seed=seed))

        folder = Path(run_folder) / f"seed-{seed}"

        def train(trial: SkillConfig, name: str, folder: Path = folder) -> SkillOutcome:
            given = {task: examples}
            return train_skills(
                base, given, trial, folder / name, start=prepared, fresh=fresh, on_progress=on_progress
            )

        runs = run_protocol(task, examples, own, protocol, train)
        expert = runs.outcome.task_expert(task)
        card = replace(expert.card, parents=tuple(skill.name for skill in start.skills))
        found.append(Adaptation(replace(expert, card=card), runs.outcome, runs.config, runs.losses))
    return found


@dataclass(frozen=True)
class ProtocolRuns:
    """The trainings of a protocol with one seed, and the chosen one."""

    outcome: SkillOutcome
    """The training with the lowest validation loss; the first if none was validated."""
    config: SkillConfig
    """Its configuration."""
    losses: Mapping[tuple[float, float], float | None]
    """Learning rates of skills and table -> best validation loss, for each training."""
    num_other_tokens: int
    """Tokens that the other trainings were trained on."""


def run_protocol(
    task: str,
    examples: TrainingExamples,
    config: SkillConfig,
    protocol: FewShotProtocol,
    train: Callable[[SkillConfig, str], SkillOutcome],
) -> ProtocolRuns:
    """Run the trainings of a protocol, and choose one by validation loss.

    Args:
        task: the task's name, for messages.
        examples: its examples.
        config: the configuration.
        protocol: see ``list_trials``.
        train: runs a training; it gets a name, which is safe as a folder's name.

    Raises:
        ValueError: if the protocol is unknown, or chooses and there are no validation examples.
    """
    trials = list_trials(config, protocol)
    if len(trials) > 1 and not examples.validation:
        raise ValueError(
            f"protocol {protocol!r} chooses learning rates by validation loss, so task {task!r} must have "
            "validation examples, found none: split some off, or use protocol 'fixed'"
        )
    runs = [(trial, train(trial, _name_training(trial))) for trial in trials]
    losses = {_list_rates(trial): outcome.progress.best_loss for trial, outcome in runs}
    config, chosen = min(runs, key=lambda run: _find_loss(run[1]))
    total = sum(outcome.progress.tokens for _, outcome in runs)
    return ProtocolRuns(chosen, config, losses, total - chosen.progress.tokens)


def _name_training(config: SkillConfig) -> str:
    return "table-{1:g}-skills-{0:g}".format(*_list_rates(config))


def _find_loss(outcome: SkillOutcome) -> float:
    loss = outcome.progress.best_loss
    return math.inf if loss is None else loss


def _list_rates(config: SkillConfig) -> tuple[float, float]:
    return config.train.learning_rate, config.table_learning_rate
