"""Social IQa: a situation, a question about the people in it, and three answers."""

from lorary.data.readers.row_format import Row, RowFormat, choose, has_keys, take_index, take_text
from lorary.data.task import Example


def read_social_i_qa(row: Row) -> Example:
    """Read a situation and question with the three answers."""
    answers = (take_text(row, "answerA"), take_text(row, "answerB"), take_text(row, "answerC"))
    asked = f"{take_text(row, 'context')}\n{take_text(row, 'question')}"
    return choose(asked, answers, take_index(row, "label", 3, first=1))


SOCIAL_I_QA = RowFormat(
    keys="context, question, answerA, answerB, answerC, label 1 to 3",
    meaning="context and question are the prompt, the answer at label (from 1) the target, one of three",
    example={
        "context": "Al fell.",
        "question": "Why?",
        "answerA": "x",
        "answerB": "y",
        "answerC": "z",
        "label": "2",
    },
    matches=has_keys("context", "question", "answerA", "answerB", "answerC"),
    read=read_social_i_qa,
)
