"""Writing skills and their table as PEFT's Poly folders.

S skills, Q splits, R rank, I layer input, O layer output.
"""

import os
from typing import Any

import torch
from fsspec.core import url_to_fs
from torch import Tensor

from lorary.errors import UnsupportedAdapter
from lorary.experts.expert import Expert
from lorary.experts.folder import replace_folder
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.peft_keys import PREFIX
from lorary.experts.peft_writer import exclude_namesakes
from lorary.experts.skills.poly_reader import PARTS
from lorary.experts.skills.skill_set import SkillSet
from lorary.experts.skills.task_table import name_group
from lorary.experts.weights_file import WEIGHTS_FILE, dump_tensors
from lorary.files import dump_json


def write_poly(skill_set: SkillSet, folder: str | os.PathLike[str]) -> None:
    """Write skills and their table as a folder that PEFT loads as a Poly adapter with equal logits.

    PEFT has a table for each linear layer; rows that layers share are written for each of them. PEFT has no
    names of tasks: ids follow the order of ``skill_set.table.tasks``.

    Args:
        skill_set: the skills and their table.
        folder: a path or URL; an adapter that is there is replaced.

    Raises:
        UnsupportedAdapter: with all reasons why PEFT cannot represent the skills: no tasks, a shared skill,
            ranks that differ between modules, or GPT-2's Conv1D layers.
        FormatError: if the folder has files that are not an adapter's.
    """
    first = skill_set.skills[0]
    faults = _find_unsupported(skill_set)
    if faults:
        raise UnsupportedAdapter(
            f"PEFT's Poly cannot represent these skills: {'; '.join(faults)}: write the experts of tasks "
            "instead (task_expert, write_peft)"
        )
    tensors = {
        f"{PREFIX}{path}.{part}": tensor
        for path in first.factors
        for part, tensor in zip(PARTS, _stack_layer(skill_set, path), strict=True)
    }
    fs, place = url_to_fs(os.fspath(folder))
    replace_folder(
        fs,
        place,
        {WEIGHTS_FILE: dump_tensors(tensors), CONFIG_FILE: dump_json(_describe(skill_set)).encode()},
    )


def _find_unsupported(skill_set: SkillSet) -> list[str]:
    first: Expert = skill_set.skills[0]
    faults = []
    if not skill_set.table.tasks:
        faults.append("their table has no tasks")
    if skill_set.table.has_shared:
        faults.append("they have a shared skill")
    if len(set(first.ranks.values())) > 1:
        faults.append(f"ranks differ between modules, {sorted(set(first.ranks.values()))}")
    if first.card.fan_in_fan_out:
        faults.append("the base model's layers are Conv1D")
    return faults


def _stack_layer(skill_set: SkillSet, path: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return PEFT's A ``[Q, S, I/Q, R]``, B ``[Q, S, R, O/Q]`` and logits ``[tasks, Q·S]`` of a layer."""
    num_splits, table = skill_set.table.num_splits, skill_set.table
    pairs = [skill.factors[path] for skill in skill_set.skills]
    a = torch.stack([pair.a for pair in pairs]).unflatten(2, (num_splits, -1))  # [S, R, Q, I/Q]
    b = torch.stack([pair.b for pair in pairs]).unflatten(1, (num_splits, -1))  # [S, Q, O/Q, R]
    up = b.permute(1, 0, 3, 2) * pairs[0].rank
    logits = table.logits[name_group(path, table.granularity)]
    return a.permute(2, 0, 3, 1), up, logits


def _describe(skill_set: SkillSet) -> dict[str, Any]:
    first, table = skill_set.skills[0], skill_set.table
    return {
        "peft_type": "POLY",
        "poly_type": "poly",
        "task_type": first.card.task_type,
        "base_model_name_or_path": first.base_model or None,
        "revision": first.card.base_revision,
        "inference_mode": True,
        "r": first.max_rank,
        "n_tasks": len(table.tasks),
        "n_skills": table.num_skills,
        "n_splits": table.num_splits,
        "target_modules": list(first.factors),
        "exclude_modules": exclude_namesakes(first),
        "init_weights": True,
    }
