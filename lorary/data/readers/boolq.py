"""BoolQ: a passage and a yes/no question about it."""

from lorary.data.readers.row_format import Row, RowFormat, choose, has_keys, take_index, take_text
from lorary.data.task import Example

CHOICES = ("no", "yes")


def read_boolq(row: Row) -> Example:
    """Read a passage with its question; ``label`` 1 (or ``answer`` true) is yes."""
    question = take_text(row, "question")
    mark = "" if question.endswith("?") else "?"
    key = "label" if "label" in row else "answer"
    answer = int(row[key]) if isinstance(row.get(key), bool) else row.get(key)
    index = take_index({key: answer}, key, 2)
    return choose(f"{take_text(row, 'passage')}\nQuestion: {question}{mark}", CHOICES, index)


BOOLQ = RowFormat(
    keys="passage, question, label | answer",
    meaning="passage and question are the prompt, yes or no the target",
    example={"question": "is it so", "passage": "It is so.", "label": 1},
    matches=has_keys("passage", "question"),
    read=read_boolq,
)
