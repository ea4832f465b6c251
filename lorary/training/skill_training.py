"""Training skills that tasks share (Polytropon, MHR), from the start or from the state of a killed run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor
from transformers.pytorch_utils import Conv1D

from lorary.experts import Expert, ExpertCard, Factors, check_name
from lorary.experts.skills import SkillSet, TaskTable
from lorary.experts.skills.mixing import check_splits
from lorary.models import BaseModel, find_layers, layer_shape
from lorary.models.attach import attach_slots
from lorary.models.layers import BaseLayer
from lorary.training.config import list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.folder.tensor_form import TensorForm
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.objectives.skill_config import SkillConfig
from lorary.training.objectives.skills import TABLE, SharedSkills, TaskExample, outline_skills
from lorary.training.progress import UnitProgress


@dataclass(frozen=True)
class SkillOutcome:
    """The result of a run."""

    skill_set: SkillSet
    """The skills and the table of the tasks."""
    progress: UnitProgress
    """Steps, tokens, loss curves and best validation loss of all tasks together."""


def train_skills(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: SkillConfig,
    run_folder: str | Path,
    *,
    name: str = "skills",
    fresh: bool = False,
    on_progress: Callable[[TrainEvent[dict[str, Tensor]]], None] | None = None,
) -> SkillOutcome:
    """Train skills that tasks share, and a table by which each task mixes them; resumes a killed run.

    A batch has examples of all tasks in random order, so tasks with more examples count more.

    Args:
        base: the base model, used on its current device. It must have no experts, and has none afterwards.
        examples: task -> its examples, see ``prepare_examples``.
        config: the configuration.
        run_folder: folder of the resumable state, the finished parameters and the curves.
        name: the skills are ``<name>-0``, ``<name>-1``, …, and ``<name>-shared``.
        fresh: start over instead of resuming.
        on_progress: called after every pass.

    Returns:
        Skills and table (best validated values, or the last), and the curves.

    Raises:
        ValueError: if there is no task, a task has no training example, the base model cannot read one, the
            name is not safe, or ``num_splits`` does not divide the widths of all layers.
        IncompatibleExpert: if ``target_modules`` match no layer, or the base model has experts already.
        TrainingError: if the folder has another run, is damaged or in use, or a loss is not finite.

    Source: Polytropon, arXiv:2202.13914; MHR, arXiv:2211.03831.
    """
    if not examples:
        raise ValueError("there must be examples of at least one task, found none: pass some")
    for task, found in examples.items():
        check_training_examples(task, found, base.model)
    check_name(f"{name}-0")
    layers = find_layers(base.model, config.train.target_modules)
    sizes = {path: layer_shape(layer) for path, layer in layers.items()}
    check_splits(sizes, config.num_splits)
    with hold_run_folder(run_folder):
        form = TensorForm(outline_skills(sizes, len(examples), config))
        folder = RunFolder(run_folder, _identify(base, examples, config), form, fresh=fresh)
        stack = attach_slots(base.model, layers, 1, config.train.rank)
        try:
            objective = SharedSkills(stack, len(examples), config)
            unit = {name: _join_tasks(examples)}
            tensors, progress = Loop(
                objective, unit, config.train.loop, folder=folder, after_pass=on_progress
            ).run()[name]
        finally:
            stack.detach()
    card = _describe(base, layers, examples, config, progress)
    return SkillOutcome(_build_skill_set(tensors, list(examples), name, base.name, card, config), progress)


def _identify(
    base: BaseModel, examples: Mapping[str, TrainingExamples], config: SkillConfig
) -> dict[str, object]:
    return {
        "configuration": {**asdict(config), "train": list_effective(config.train)},
        "base model": base.fingerprint,
        # A list, because the order of tasks is that of the table's rows.
        "examples": [[task, found.digest] for task, found in examples.items()],
    }


def _join_tasks(examples: Mapping[str, TrainingExamples]) -> TrainingExamples:
    """Return the examples of all tasks as those of one unit, each with its task's row."""

    def join(split: str) -> tuple[TaskExample, ...]:
        return tuple(
            TaskExample(example.prompt_ids, example.target_ids, example.num_cut, task)
            for task, found in enumerate(examples.values())
            for example in getattr(found, split)
        )

    return TrainingExamples(train=join("train"), validation=join("validation"), tasks=tuple(examples))


def _describe(
    base: BaseModel,
    layers: Mapping[str, BaseLayer],
    examples: Mapping[str, TrainingExamples],
    config: SkillConfig,
    progress: UnitProgress,
) -> ExpertCard:
    return ExpertCard(
        tasks=tuple(examples),
        base_revision=base.revision,
        base_fingerprint=base.fingerprint,
        provenance={
            "training": asdict(config),
            "data": {"digests": {task: found.digest for task, found in examples.items()}},
            "steps": progress.step,
            "best_step": progress.best_step,
            "tokens": progress.tokens,
        },
        scores={} if progress.best_loss is None else {"validation_loss": progress.best_loss},
        fan_in_fan_out=isinstance(next(iter(layers.values())), Conv1D),
    )


def _build_skill_set(
    tensors: Mapping[str, Tensor],
    tasks: list[str],
    name: str,
    base_model: str,
    card: ExpertCard,
    config: SkillConfig,
) -> SkillSet:
    """Make experts and a table of a run's parameters; each ``b`` includes LoRA's factor."""
    factors = [key for key in tensors if not key.startswith(TABLE)]
    paths = [key.removesuffix(".a") for key in factors if key.endswith(".a")]
    ends = [*map(str, range(config.num_skills)), *(["shared"] if config.shared_skill else [])]
    skills = [
        Expert(
            f"{name}-{end}",
            base_model,
            {
                path: Factors(
                    tensors[f"{path}.a"][place].clone(),
                    (tensors[f"{path}.b_t"][place].T * config.train.scale).contiguous(),
                )
                for path in paths
            },
            replace(card, description=f"skill {end} of {name}"),
        )
        for place, end in enumerate(ends)
    ]
    table = TaskTable(
        tasks=tuple(tasks),
        logits={key.removeprefix(TABLE): own for key, own in tensors.items() if key.startswith(TABLE)},
        num_skills=config.num_skills,
        num_splits=config.num_splits,
        granularity=config.granularity,
        has_shared=config.shared_skill,
    )
    return SkillSet(skills, table)
