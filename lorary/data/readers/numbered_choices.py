"""MMLU: a question, a list of choices and the place of the right one, counted from 0."""

from lorary.data.readers.row_format import Row, RowFormat, choose, take_index, take_text, take_texts
from lorary.data.task import Example


def read_numbered_choices(row: Row) -> Example:
    """Read a row whose ``answer`` is the index of the right one of ``choices``."""
    choices = take_texts(row, "choices")
    return choose(take_text(row, "question"), choices, take_index(row, "answer", len(choices)))


NUMBERED_CHOICES = RowFormat(
    keys="question, choices [text], answer",
    meaning="the question is the prompt, the choice at answer (from 0) the target, one of the choices",
    example={"question": "Hue?", "choices": ["red", "green"], "answer": 0},
    matches=lambda row: (
        "question" in row and "answer" in row and isinstance(row.get("choices"), list | tuple)
    ),
    read=read_numbered_choices,
)
