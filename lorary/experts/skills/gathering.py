"""Skill sets made from separately trained experts, and from the mean of other skills.

S skills, Q splits.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert
from lorary.experts.base_names import compare_bases
from lorary.experts.expert import Expert, identify_base
from lorary.experts.factors import Factors
from lorary.experts.parts import require_low_rank
from lorary.experts.skills.choices import Granularity
from lorary.experts.skills.skill_set import SkillSet
from lorary.experts.skills.task_table import TaskTable, name_group
from lorary.files import quote

MOST_NAMED = 3  # faults in one message


def make_skill_set(
    experts: Sequence[Expert], *, num_splits: int = 1, granularity: Granularity = "linear"
) -> SkillSet:
    """Make a skill set of any experts of one base model, without tasks yet.

    Args:
        experts: the experts, in the order of the skills. Lower ranks, and layers that an expert does not
            change, are padded with zeros.
        num_splits: Q, blocks of a layer's inputs and outputs with separate weights.
        granularity: layers that will share rows of the table.

    Returns:
        The experts as skills and a table without rows. A task that is not in it weighs all skills equally.

    Raises:
        ValueError: if there is no expert, the granularity is unknown, or ``num_splits`` does not divide the
            widths of all layers.
        IncompatibleExpert: if the experts are for different base models, or for layers of different widths.
    """
    skills = pad_experts(experts)
    columns = num_splits * len(skills)
    groups = dict.fromkeys(name_group(path, granularity) for path in skills[0].outlines)
    table = TaskTable(
        tasks=(),
        logits={group: torch.zeros(0, max(columns, 0)) for group in groups},
        num_skills=len(skills),
        num_splits=num_splits,
        granularity=granularity,
    )
    return SkillSet(skills, table)


def average_skills(skill_set: SkillSet, name: str = "mean") -> SkillSet:
    """Make a set of one skill, whose factors are the mean of a set's: the start of Poly-μ and MHR-μ.

    Args:
        skill_set: the skills. A shared skill is added with weight 1, as in each task.
        name: the skill's name.

    Returns:
        The skill, with the others as its parents, and a table without rows.

    Source: MHR, arXiv:2211.03831.
    """
    table = skill_set.table
    logits = {group: own[:0] for group, own in table.logits.items()}
    empty = replace(table, tasks=(), logits=logits, embeddings=None)
    mean = SkillSet(skill_set.skills, empty).task_expert(None, name)
    return make_skill_set([mean], granularity="model")


def pad_experts(experts: Sequence[Expert]) -> list[Expert]:
    """Give experts the same modules and one rank, by padding with zeros.

    Args:
        experts: experts of one base model.

    Returns:
        The experts, with their names; those that need no padding are the same objects.

    Raises:
        ValueError: if there is no expert.
        IncompatibleExpert: if one has more than low-rank factors; with all faults, if they are for different
            base models, or for layers of different widths.
    """
    if not experts:
        raise ValueError("there must be at least one expert as a skill, found none: pass some")
    require_low_rank(experts, "a set of skills")
    widths: dict[str, tuple[int, int]] = {}
    for expert in experts:
        for path, (a, b) in expert.outlines.items():
            widths.setdefault(path, (a.shape[1], b.shape[0]))
    faults = [fault for expert in experts for fault in _find_faults(expert, experts[0], widths)]
    if faults:
        more = f"; and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise IncompatibleExpert(
            f"skills of one set must fit together: {'; '.join(faults[:MOST_NAMED])}{more}"
        )
    rank = max(expert.max_rank for expert in experts)
    return [_pad(expert, widths, rank, experts[0].base_model) for expert in experts]


def _find_faults(expert: Expert, first: Expert, widths: dict[str, tuple[int, int]]) -> list[str]:
    if not compare_bases(identify_base(expert), identify_base(first)).fits:
        return [
            f"{expert.name!r} must be for the base model of {first.name!r}, {quote(first.base_model)}, found "
            f"{quote(expert.base_model)}"
        ]
    return [
        f"{quote(path)} of {expert.name!r} must map {widths[path][0]} to {widths[path][1]}, found "
        f"{a.shape[1]} to {b.shape[0]}"
        for path, (a, b) in expert.outlines.items()
        if widths[path] != (a.shape[1], b.shape[0])
    ]


def _pad(expert: Expert, widths: dict[str, tuple[int, int]], rank: int, base_model: str) -> Expert:
    if expert.base_model == base_model and expert.ranks == dict.fromkeys(widths, rank):
        return expert
    factors = {}
    for path, (width_in, width_out) in widths.items():
        pair = expert.factors.get(path)
        if pair is None:
            dtype = next(iter(expert.outlines.values())).a.dtype
            pair = Factors(torch.zeros(0, width_in, dtype=dtype), torch.zeros(width_out, 0, dtype=dtype))
        factors[path] = Factors(_extend(pair.a, rank, 0), _extend(pair.b, rank, 1))
    return replace(expert, base_model=base_model, factors=factors)


def _extend(factor: Tensor, rank: int, dimension: int) -> Tensor:
    shape = list(factor.shape)
    shape[dimension] = rank - shape[dimension]
    return torch.cat([factor, factor.new_zeros(shape)], dimension)
