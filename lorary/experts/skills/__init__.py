"""Skills that tasks share (Polytropon, MHR): weights, table, experts of tasks, and PEFT's folders.

Names are loaded when first used, so that options of commands can be read without PyTorch.
"""

from typing import TYPE_CHECKING

from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.experts.skills.gathering import average_skills, make_skill_set
    from lorary.experts.skills.poly_reader import read_poly
    from lorary.experts.skills.poly_writer import write_poly
    from lorary.experts.skills.skill_set import SkillSet
    from lorary.experts.skills.task_table import TaskTable

__all__ = ["SkillSet", "TaskTable", "average_skills", "make_skill_set", "read_poly", "write_poly"]

__getattr__ = load_lazily(
    __name__,
    {
        "SkillSet": "skill_set",
        "TaskTable": "task_table",
        "average_skills": "gathering",
        "make_skill_set": "gathering",
        "read_poly": "poly_reader",
        "write_poly": "poly_writer",
    },
)
