"""Skills that tasks share (Polytropon, MHR): weights, table, experts of tasks, and PEFT's folders."""

from lorary.experts.skills.gathering import average_skills, make_skill_set
from lorary.experts.skills.poly_reader import read_poly
from lorary.experts.skills.poly_writer import write_poly
from lorary.experts.skills.skill_set import SkillSet
from lorary.experts.skills.task_table import TaskTable

__all__ = ["SkillSet", "TaskTable", "average_skills", "make_skill_set", "read_poly", "write_poly"]
