"""Making skills and their table from the parameters of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.skills import SkillSet, TaskTable
from lorary.training.objectives.skill_config import SkillConfig
from lorary.training.objectives.skill_values import TABLE


def build_skill_set(
    values: Mapping[str, Tensor],
    tasks: Sequence[str],
    name: str,
    base_model: str,
    card: ExpertCard,
    config: SkillConfig,
    start: SkillSet | None,
) -> SkillSet:
    """Make skills and their table from the parameters of a training.

    Args:
        values: all parameters, named as by ``outline_skills``.
        tasks: the tasks, in the order of the table's rows.
        name: the skills are ``<name>-0``, ``<name>-1``, …, and ``<name>-shared``.
        base_model: their base model.
        card: their card.
        config: the configuration.
        start: the skills from which they were trained; the result has these themselves if only the table was
            trained.
    """
    table = TaskTable(
        tasks=tuple(tasks),
        logits={key.removeprefix(TABLE): own for key, own in values.items() if key.startswith(TABLE)},
        num_skills=config.num_skills,
        num_splits=config.num_splits,
        granularity=config.granularity,
        has_shared=config.shared_skill,
    )
    if start is not None and config.trained == "table":
        return SkillSet(start.skills, table)
    ends = [*map(str, range(config.num_skills)), *(["shared"] if config.shared_skill else [])]
    skills = [
        Expert(
            f"{name}-{end}",
            base_model,
            _take_factors(values, place, config.train.scale),
            replace(card, description=f"skill {end} of {name}"),
        )
        for place, end in enumerate(ends)
    ]
    return SkillSet(skills, table)


def _take_factors(values: Mapping[str, Tensor], place: int, scale: float) -> dict[str, Factors]:
    """Return the factors of a skill; each ``b`` includes LoRA's factor."""
    paths = [key.removesuffix(".a") for key in values if key.endswith(".a") and not key.startswith(TABLE)]
    factors = {}
    for path in paths:
        b = values[f"{path}.b_t"][place].T * scale
        factors[path] = Factors(values[f"{path}.a"][place].clone(), b.contiguous())
    return factors
