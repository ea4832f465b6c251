"""PIQA: a goal and two ways to reach it, one of which works."""

from lorary.data.readers.row_format import Row, RowFormat, choose, has_keys, take_index, take_text
from lorary.data.task import Example


def read_piqa(row: Row) -> Example:
    """Read a goal with its two solutions."""
    solutions = (take_text(row, "sol1"), take_text(row, "sol2"))
    return choose(f"Goal: {take_text(row, 'goal')}", solutions, take_index(row, "label", 2))


PIQA = RowFormat(
    keys="goal, sol1, sol2, label 0 or 1",
    meaning="the goal is the prompt, the solution at label (from 0) the target, one of two",
    example={"goal": "Dry a cup", "sol1": "towel", "sol2": "rain", "label": 0},
    matches=has_keys("goal", "sol1", "sol2"),
    read=read_piqa,
)
