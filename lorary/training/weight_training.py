"""Training weights of experts for new tasks by gradient, many tasks in the same passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from lorary.experts import Expert, hash_weights
from lorary.experts.on_top import join_general
from lorary.experts.skills.task_table import Granularity
from lorary.files import quote
from lorary.models import BaseModel, attach_experts
from lorary.models.check_base import check_base
from lorary.training.config import TrainConfig, list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.folder.tensor_form import TensorForm
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.objectives.expert_weights import TrainedWeights
from lorary.training.progress import UnitProgress
from lorary.training.starts import hash_start


@dataclass(frozen=True)
class WeightOutcome:
    """The result for one task."""

    weights: dict[str, dict[str, float]]
    """Group of layers -> expert -> weight."""
    progress: UnitProgress
    """Steps, tokens, curves, best validation loss."""


def train_weights(
    base: BaseModel,
    experts: Mapping[str, Expert],
    names: Mapping[str, Sequence[str]],
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    run_folder: str | Path,
    *,
    granularity: Granularity = "linear",
    trust_base: bool = False,
    general: Expert | None = None,
    on_progress: Callable[[TrainEvent[dict[str, Tensor]]], None] | None = None,
) -> dict[str, WeightOutcome]:
    """Train, for each new task, the weights ``w_e`` of the sum ``sum_e w_e b_e a_e``; resumes a killed run.

    The experts are not changed. The weights start at ``1 / K``, the mean of K experts, and may become any
    numbers. The validation loss is measured before the first step too.

    Args:
        base: the base model. It must have no experts, and has none afterwards.
        experts: the experts, by name.
        names: new task -> the experts that it uses, the same number for all tasks.
        examples: new task -> its examples.
        config: the settings of the training; ``rank`` and ``alpha`` have no effect, and ``learning_rate`` is
            that of the weights.
        run_folder: folder of the resumable state.
        granularity: layers that share weights: 'model', 'block', 'layer' or 'linear'.
        trust_base: whether to accept experts for another base model, with a warning.
        general: the general expert that they build on, which is active too; None for none.
        on_progress: called after every pass.

    Returns:
        Task -> its weights and curves.

    Raises:
        ValueError: if there is no task, a task has no training example or another number of experts.
        IncompatibleExpert: if an expert does not fit the base model, or it has experts already.
        TrainingError: if the folder has another run, is damaged or in use, or a loss is not finite.
    """
    counts = {len(set(names[task])) for task in examples}
    if len(counts) != 1 or 0 in counts or counts != {len(names[task]) for task in examples}:
        raise ValueError(
            "every task must use the same number of experts, at least one, each once, found "
            f"{quote({task: len(names[task]) for task in examples})}"
        )
    for task, found in examples.items():
        check_training_examples(task, found, base.model)
    used = {name: experts[name] for name in sorted({name for task in examples for name in names[task]})}
    check_base(base, *used.values(), trust=trust_base)
    identity = {
        "configuration": list_effective(config),
        "granularity": granularity,
        "base model": base.fingerprint,
        **({} if general is None else {"general expert": hash_weights(general)}),
        "experts": {task: [[name, hash_start(experts[name])] for name in names[task]] for task in examples},
        "examples": {task: found.digest for task, found in examples.items()},
    }
    with hold_run_folder(run_folder):
        stack = attach_experts(base.model, join_general(used, general))
        try:
            own = {task: names[task] for task in examples}
            objective = TrainedWeights(stack, own, config, granularity)
            folder = RunFolder(run_folder, identity, TensorForm(objective.rows.shapes))
            loop = replace(config.loop, validate_start=True)
            done = Loop(objective, examples, loop, folder=folder, after_pass=on_progress).run()
        finally:
            stack.detach()
    return {
        task: WeightOutcome(
            {group: dict(zip(own[task], row.tolist(), strict=True)) for group, row in weights.items()},
            progress,
        )
        for task, (weights, progress) in done.items()
    }
