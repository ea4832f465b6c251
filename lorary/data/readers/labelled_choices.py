"""ARC, OpenBookQA and CommonsenseQA: a question, choices with labels, and the label of the right one."""

from collections.abc import Mapping

from lorary.data.readers.row_format import Row, RowFormat, choose, take_text, take_texts
from lorary.data.task import Example
from lorary.files import quote


def read_labelled_choices(row: Row) -> Example:
    """Read a row whose ``choices`` have ``text`` and ``label``, and whose ``answerKey`` is a label."""
    choices = row.get("choices")
    if not isinstance(choices, Mapping):
        raise ValueError(f"field 'choices' must hold 'text' and 'label', not {quote(choices, 60)}")
    texts, labels = take_texts(choices, "text"), take_texts(choices, "label")
    if len(texts) != len(labels):
        raise ValueError(f"'choices' must have as many labels as texts, found {len(labels)} and {len(texts)}")
    if row.get("answerKey") not in labels:
        found = quote(row.get("answerKey"), 60)
        raise ValueError(f"field 'answerKey' must be one of {quote(labels)}, not {found}")
    question = take_text(row, "question" if "question" in row else "question_stem")
    return choose(question, texts, labels.index(row["answerKey"]))


def _matches(row: Row) -> bool:
    return isinstance(row.get("choices"), Mapping) and ("question" in row or "question_stem" in row)


LABELLED_CHOICES = RowFormat(
    keys="question | question_stem, choices {text, label}, answerKey",
    meaning="the question is the prompt, the choice whose label is answerKey the target, one of the choices",
    example={
        "question": "Hue?",
        "choices": {"text": ["red", "green"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    matches=_matches,
    read=read_labelled_choices,
)
