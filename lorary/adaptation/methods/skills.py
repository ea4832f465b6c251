"""Polytropon and MHR over the library's experts, over a trained set of skills, and from scratch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from torch import Tensor

from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.methods.contract import Context, NewTask, Trained
from lorary.adaptation.skill_sets import load_trained_skills
from lorary.experts.skills import SkillSet, make_skill_set
from lorary.experts.skills.task_table import name_group
from lorary.models.fit_paths import fit_paths
from lorary.training import SkillConfig, prepare_mode, train_skills
from lorary.training.loop.event import TrainEvent
from lorary.training.objectives.skill_config import AdaptationMode
from lorary.training.skill_adaptation import run_protocol
from lorary.training.skill_training import SkillOutcome

SCRATCH = "-scratch"


def train(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Trained]:
    """Train the table, the skills, or both, for one task after the other.

    Tasks do not share a run: trained together, the skills and the early stopping of one would depend on
    the others.

    Source: Polytropon, arXiv:2202.13914; MHR, arXiv:2211.03831; over a library: arXiv:2405.11157.
    """
    return {name: _adapt(context, task) for name, task in tasks.items()}


def _adapt(context: Context, task: NewTask) -> Trained:
    start, config = prepare_skills(context, task)

    def tell(event: TrainEvent[dict[str, Tensor]]) -> None:
        context.on_progress(AdaptEvent.of_training(event, f"training {task.name}"))

    protocol, place = context.config.protocol, context.folder / task.name

    def train_once(trial: SkillConfig, name: str) -> SkillOutcome:
        return train_skills(
            context.base,
            {task.name: task.examples},
            trial,
            place if protocol == "given" else place / name,
            start=start,
            # The unit's name determines the order of batches; it is the same for all methods.
            name=task.name,
            on_progress=tell,
        )

    runs = run_protocol(task.name, task.examples, config, protocol, train_once)
    outcome = runs.outcome
    is_scratch = context.config.method.endswith(SCRATCH)
    weights = {} if is_scratch else _read_weights(outcome, task, list(task.chosen))
    return Trained(
        expert=outcome.task_expert(task.name),
        progress=outcome.progress,
        weights=weights,
        num_tokens=runs.num_other_tokens,
    )


def prepare_skills(context: Context, task: NewTask) -> tuple[SkillSet | None, SkillConfig]:
    """Return the skills from which a task's training starts, if there are any, and its configuration."""
    config, method = context.config, context.config.method
    settings = SkillConfig(
        train=context.train,
        granularity=config.granularity,
        weighting=config.weighting,
        table_learning_rate=config.table_learning_rate,
        num_skills=config.num_skills,
        num_splits=config.num_splits if method.startswith("mhr") else 1,
    )
    if method.endswith(SCRATCH):
        return None, settings
    if config.skills is not None:
        start = load_trained_skills(context.experts, config.skills)
        settings = replace(settings, new_rows="mean" if start.table.tasks else "random")
    else:
        experts = fit_paths(context.base.model, {name: context.experts[name] for name in task.chosen})
        own = [
            expert.with_base(context.base.name, fingerprint=context.base.fingerprint)
            for expert in experts.values()
        ]
        start = make_skill_set(own, num_splits=settings.num_splits, granularity=config.granularity)
    start, fitted = prepare_mode(cast(AdaptationMode, method), start, settings)
    # The scale of b @ a stays the same for every rank of the skills.
    share = fitted.train.rank / context.train.rank
    alpha = context.train.alpha * (share**0.5 if context.train.use_rslora else share)
    return start, replace(fitted, train=replace(fitted.train, alpha=alpha))


def _read_weights(
    outcome: SkillOutcome, task: NewTask, names: list[str]
) -> dict[str, float] | dict[str, dict[str, float]]:
    """Return the weights of the initial skills, as means over splits."""
    table = outcome.skill_set.table
    if table.num_skills + table.has_shared < len(names):
        # The mean of the skills was trained as one.
        return dict.fromkeys(names, 1 / len(names))
    paths = outcome.skill_set.skills[0].outlines
    path_of = {name_group(path, table.granularity): path for path in paths}
    return {
        group: dict(zip(names, table.find_weights(path, task.name).mean(0).tolist(), strict=True))
        for group, path in path_of.items()
    }
