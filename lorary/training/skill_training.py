"""Training skills that tasks share (Polytropon, MHR), from the start or from the state of a killed run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from lorary.experts import Expert, ExpertCard, check_name
from lorary.experts.seeds import seed_for
from lorary.experts.skills import SkillSet
from lorary.experts.skills.mixing import check_splits
from lorary.models import BaseModel, find_layers, layer_shape
from lorary.models.attach import attach_slots
from lorary.models.layers import BaseLayer
from lorary.models.quantized.dequantize import came_from_conv1d
from lorary.training.config import list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.folder.tensor_form import TensorForm
from lorary.training.joined_tasks import join_tasks
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.memory import check_memory
from lorary.training.objectives.skill_config import SkillConfig
from lorary.training.objectives.skill_values import (
    digest_skills,
    draw_values,
    is_trained,
    outline_skills,
    take_values,
)
from lorary.training.objectives.skills import SharedSkills
from lorary.training.progress import UnitProgress
from lorary.training.rank_check import check_rank
from lorary.training.skill_start import fit_start
from lorary.training.trained_skills import build_skill_set


@dataclass(frozen=True)
class SkillOutcome:
    """The result of a run."""

    skill_set: SkillSet
    """The skills and the table of the tasks."""
    progress: UnitProgress
    """Steps, tokens, loss curves and best validation loss of all tasks together."""
    card: ExpertCard
    """What was trained, on what, from which skills."""

    def task_expert(self, task: str | None, name: str | None = None) -> Expert:
        """Make the expert of a task, as ``SkillSet.task_expert``; its card describes this training."""
        expert = self.skill_set.task_expert(task, name)
        provenance = {**self.card.provenance, **expert.card.provenance}
        parents = self.card.parents or expert.card.parents
        card = replace(expert.card, provenance=provenance, parents=parents, scores=self.card.scores)
        return replace(expert, card=card)


def train_skills(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: SkillConfig,
    run_folder: str | Path,
    *,
    start: SkillSet | None = None,
    name: str = "skills",
    fresh: bool = False,
    on_progress: Callable[[TrainEvent[dict[str, Tensor]]], None] | None = None,
) -> SkillOutcome:
    """Train skills that tasks share, and a table by which each task mixes them; resumes a killed run.

    A batch has examples of all tasks in random order. Tasks with more examples count more, unless the
    configuration has ``balanced``.

    Args:
        base: the base model, used on its current device. It must have no experts, and has none afterwards.
        examples: task -> its examples, see ``prepare_examples``.
        config: the configuration. ``trained`` says what is trained.
        run_folder: folder of the resumable state, the finished parameters and the curves.
        start: skills to start from: of another training, or any experts (``make_skill_set``). The
            configuration must have their numbers (``fit_config``); the layers are theirs. Tasks that are
            in their table start from their rows, others as ``new_rows`` says. None: a start like PEFT's.
        name: the skills are ``<name>-0``, ``<name>-1``, …, and ``<name>-shared``. Skills that are not trained
            keep their names.
        fresh: start over instead of resuming.
        on_progress: called after every pass.

    Returns:
        Skills and table (best validated values, or the last), and the curves. The table has the tasks of
        ``examples`` only. A start is validated before the first step too, and kept if no later values are
        better.

    Raises:
        ValueError: if there is no task, a task has no training example, the base model cannot read one, the
            name is not safe, ``num_splits`` does not divide the widths of all layers, or the configuration
            does not suit ``start``.
        IncompatibleExpert: if ``target_modules`` match no layer, ``start`` does not fit the base model, or
            the base model has experts already.
        TrainingError: if the folder has another run, is damaged or in use, a loss is not finite, or the
            training needs more memory than is free.

    Source: Polytropon, arXiv:2202.13914; MHR, arXiv:2211.03831.
    """
    if not examples:
        raise ValueError("there must be examples of at least one task, found none: pass some")
    for task, found in examples.items():
        check_training_examples(task, found, base.model)
    check_name(f"{name}-0")
    start = fit_start(base, start, config)
    layers = _find_layers(base, config, start)
    if config.trained != "table":
        num = config.num_skills + config.shared_skill
        check_memory(base.model.device, layers, replace(config.train, num_slots=num), num, "num_skills")
        check_rank(layers, config.train.rank)
    values = _begin(layers, list(examples), config, start, seed_for(config.train.seed, name))
    with hold_run_folder(run_folder):
        form = TensorForm({key: own.shape for key, own in values.items() if is_trained(key, config)})
        folder = RunFolder(run_folder, _identify(base, examples, config, start), form, fresh=fresh)
        stack = attach_slots(base.model, layers, 1, config.train.rank)
        try:
            objective = SharedSkills(stack, values, config)
            unit = {name: join_tasks(examples, is_balanced=config.balanced)}
            loop = replace(config.train.loop, validate_start=start is not None)
            done = Loop(objective, unit, loop, folder=folder, after_pass=on_progress).run()
            tensors, progress = done[name]
        finally:
            stack.detach()
    card = _describe(base, layers, examples, config, progress, start)
    skill_set = build_skill_set({**values, **tensors}, list(examples), name, base.name, card, config, start)
    return SkillOutcome(skill_set, progress, card)


def _find_layers(base: BaseModel, config: SkillConfig, start: SkillSet | None) -> dict[str, BaseLayer]:
    if start is None:
        return find_layers(base.model, config.train.target_modules)
    modules = dict(base.model.named_modules())
    return {path: modules[path] for path in start.skills[0].outlines}


def _begin(
    layers: Mapping[str, BaseLayer], tasks: list[str], config: SkillConfig, start: SkillSet | None, seed: int
) -> dict[str, Tensor]:
    sizes = {path: layer_shape(layer) for path, layer in layers.items()}
    check_splits(sizes, config.num_splits)
    if start is not None:
        return take_values(start, tasks, config, seed)
    return draw_values(outline_skills(sizes, len(tasks), config), config, seed)


def _identify(
    base: BaseModel, examples: Mapping[str, TrainingExamples], config: SkillConfig, start: SkillSet | None
) -> dict[str, object]:
    return {
        "configuration": {**asdict(config), "train": list_effective(config.train)},
        "base model": base.fingerprint,
        # A list, because the order of tasks is that of the table's rows.
        "examples": [[task, found.digest] for task, found in examples.items()],
        "start": None if start is None else digest_skills(start),
    }


def _describe(
    base: BaseModel,
    layers: Mapping[str, BaseLayer],
    examples: Mapping[str, TrainingExamples],
    config: SkillConfig,
    progress: UnitProgress,
    start: SkillSet | None,
) -> ExpertCard:
    return ExpertCard(
        tasks=tuple(examples),
        base_revision=base.revision,
        base_fingerprint=base.fingerprint,
        task_type=base.task_type,
        provenance={
            "training": asdict(config),
            "data": {"digests": {task: found.digest for task, found in examples.items()}},
            "steps": progress.step,
            "best_step": progress.best_step,
            "tokens": progress.tokens,
        },
        parents=() if start is None else tuple(skill.name for skill in start.skills),
        scores={} if progress.best_loss is None else {"validation_loss": progress.best_loss},
        fan_in_fan_out=came_from_conv1d(next(iter(layers.values()))),
    )
