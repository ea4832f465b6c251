"""Skills: experts that tasks share, with the table of each task's weights for them.

S skills, Q splits, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from lorary.experts.expert import Expert
from lorary.experts.factors import Factors
from lorary.experts.parts import require_low_rank
from lorary.experts.roles import EXPERT
from lorary.experts.skills.mixing import check_splits, mix_skills
from lorary.experts.skills.task_table import TaskTable, name_group
from lorary.files import quote, say_count


@dataclass(frozen=True, eq=False)
class SkillSet:
    """A Polytropon or MHR model: skills and the table of its tasks.

    Raises:
        ValueError: with all faults, if skills and table do not match.
    """

    skills: Sequence[Expert]
    """The skills, in the order of the table's columns; a shared one is last."""
    table: TaskTable
    """The tasks' logits."""

    def __post_init__(self) -> None:
        require_low_rank(self.skills, "a set of skills")
        faults = _find_faults(self.skills, self.table)
        if faults:
            raise ValueError("skills and their table must match: " + "; ".join(faults))
        outlines = self.skills[0].outlines
        sizes = {path: (pair.a.shape[1], pair.b.shape[0]) for path, pair in outlines.items()}
        check_splits(sizes, self.table.num_splits)

    def task_expert(self, task: str | None, name: str | None = None) -> Expert:
        """Make the expert that is equivalent to the mixed skills of a task.

        The weights of a task are constant after training, so its mixed factors are one expert with the
        skills' rank. It can be loaded, assigned to requests, merged and written like any other expert.

        Args:
            task: one of the table's tasks; None for a task that is not in the table: the mean of its rows, or
                equal weights if there are no rows.
            name: the expert's name; None for the task's, or ``"mean"``.

        Raises:
            ValueError: if the table has no such task.
        """
        first, table = self.skills[0], self.table
        cards = [skill.card for skill in self.skills]
        card = replace(
            first.card,
            tasks=table.tasks if task is None else (task,),
            tags=tuple(tag for tag in first.card.tags if all(tag in card.tags for card in cards)),
            description="",
            role=EXPERT,
            parents=tuple(skill.name for skill in self.skills),
            scores={},
            provenance={"mixed": {"task": task, "splits": table.num_splits}},
        )
        factors = {path: self._mix_layer(path, task) for path in first.factors}
        return Expert(name or ("mean" if task is None else task), first.base_model, factors, card)

    def task_experts(self) -> dict[str, Expert]:
        """Make the experts of all tasks; see ``task_expert``."""
        return {task: self.task_expert(task) for task in self.table.tasks}

    def _mix_layer(self, path: str, task: str | None) -> Factors:
        weights = self.table.find_weights(path, task)[None]
        pairs = [skill.factors[path] for skill in self.skills]
        a = mix_skills(torch.stack([pair.a.float() for pair in pairs]), weights)
        b_t = mix_skills(torch.stack([pair.b.T.float() for pair in pairs]), weights)
        return Factors(a[0], b_t[0].T.contiguous())


def _find_faults(skills: Sequence[Expert], table: TaskTable) -> list[str]:
    expected = table.num_skills + table.has_shared
    if len(skills) != expected:
        return [f"there must be {expected} skills for the table, found {len(skills)}"]
    first, faults = skills[0], []
    names = [skill.name for skill in skills]
    if len(set(names)) < len(names):
        faults.append(f"skills must have different names, found {quote(names)}")
    shapes = _list_shapes(first)
    for skill in skills[1:]:
        if _list_shapes(skill) != shapes:
            faults.append(f"{skill.name!r} must have the modules and shapes of {first.name!r}")
        if skill.base_model != first.base_model:
            faults.append(
                f"{skill.name!r} must be for {quote(first.base_model)}, found {quote(skill.base_model)}"
            )
    missing = {name_group(path, table.granularity) for path in shapes} - set(table.logits)
    if missing:
        groups = say_count(len(missing), "group of layers", "groups of layers")
        faults.append(f"the table has no rows for {groups}, such as {min(missing)!r}")
    return faults


def _list_shapes(skill: Expert) -> Mapping[str, tuple[torch.Size, torch.Size]]:
    return {path: (pair.a.shape, pair.b.shape) for path, pair in skill.outlines.items()}
