"""SQuAD: a passage, a question about it, and answers that occur in it."""

from collections.abc import Mapping

from lorary.data.readers.row_format import Row, RowFormat, has_keys, take_answers, take_text
from lorary.data.task import Example


def read_squad(row: Row) -> Example:
    """Read a passage and a question; all answers are right."""
    answers = row.get("answers")
    texts = answers.get("text") if isinstance(answers, Mapping) else answers
    asked = f"{take_text(row, 'context')}\n\n{take_text(row, 'question')}"
    return Example(asked, tuple(dict.fromkeys(take_answers({"answers": texts}, "answers"))))


SQUAD = RowFormat(
    keys="context, question, answers {text [text]} | [text]",
    meaning="context and question are the prompt, the answers are targets that are all right",
    example={"context": "Cats: 2", "question": "How many cats?", "answers": {"text": ["2", "two"]}},
    matches=has_keys("context", "question", "answers"),
    read=read_squad,
)
