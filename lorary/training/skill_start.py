"""Starting a training of skills from other skills: checks, and the matching configuration."""

from dataclasses import replace

from lorary.experts.skills import SkillSet
from lorary.experts.skills.gathering import pad_experts
from lorary.models import BaseModel
from lorary.models.called import check_called
from lorary.models.check_base import check_base
from lorary.models.check_expert import check_expert
from lorary.models.copied_weights import check_copies
from lorary.training.objectives.skill_config import SkillConfig

_NUMBERS = ("num_skills", "num_splits", "granularity", "shared_skill")


def fit_config(config: SkillConfig, start: SkillSet) -> SkillConfig:
    """Return a configuration with the numbers of skills, splits and ranks of a start, and its granularity."""
    table = start.table
    return replace(
        config,
        train=replace(config.train, rank=_find_rank(start)),
        num_skills=table.num_skills,
        num_splits=table.num_splits,
        granularity=table.granularity,
        shared_skill=table.has_shared,
    )


def fit_start(base: BaseModel, start: SkillSet | None, config: SkillConfig) -> SkillSet | None:
    """Check that a training can start from some skills, and give these one rank.

    Args:
        base: the base model.
        start: the skills; None for a training from the beginning.
        config: the configuration.

    Raises:
        ValueError: with all faults, if the configuration does not suit the start.
        IncompatibleExpert: if the skills do not fit the base model.
    """
    faults = _find_faults(config, start)
    if faults:
        raise ValueError("configuration of skills: " + "; ".join(faults))
    if start is None:
        return None
    check_base(base, *start.skills)
    check_copies(base.model, start.skills)
    check_expert(base.model, start.skills[0])
    check_called(base.model, start.skills[0].name, list(start.skills[0].outlines))
    return SkillSet(pad_experts(start.skills), start.table)


def _find_faults(config: SkillConfig, start: SkillSet | None) -> list[str]:
    if start is None:
        faults = []
        if config.trained == "table":
            faults.append("trained='table' needs skills to start from: pass start")
        if config.new_rows == "mean":
            faults.append("new_rows='mean' needs a table to start from: pass start")
        if config.train.max_steps == 0:
            faults.append("max_steps=0 keeps the skills to start from, found none: pass start")
        return faults
    fit = fit_config(config, start)
    pairs = [(name, getattr(config, name), getattr(fit, name)) for name in _NUMBERS]
    pairs.append(("rank", config.train.rank, fit.train.rank))
    faults = [
        f"{name} must be that of the skills to start from, {expected!r}, found {found!r}"
        for name, found, expected in pairs
        if found != expected
    ]
    if faults:
        faults[-1] += ": use fit_config"
    if config.new_rows == "mean" and not start.table.tasks:
        faults.append("new_rows='mean' needs a table with tasks, found none: use 'random' or 'uniform'")
    return faults


def _find_rank(start: SkillSet) -> int:
    return max(skill.max_rank for skill in start.skills)
