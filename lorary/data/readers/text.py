"""Rows of text only: a model learns to write it, from its first word on."""

from lorary.data.readers.row_format import Row, RowFormat, take_text
from lorary.data.task import Example

# If a row has one of these fields, its text is a question or is labelled, and is not to be learnt.
ANSWERED = {
    *("label", "labels", "target", "targets", "output", "answer", "answers", "completion", "response"),
    *("summary", "class", "category", "code", "choices", "translation", "entities", "tags", "sentiment"),
}


def read_text(row: Row) -> Example:
    """Read a text, as an example without a question."""
    return Example("", (take_text(row, "text"),))


TEXT = RowFormat(
    keys="text, and nothing that looks like an answer",
    meaning="there is no prompt, all tokens of the text are targets; long texts are cut into pieces",
    example={"text": "The quick brown fox jumps over the lazy dog."},
    matches=lambda row: "text" in row and not any(name in row for name in ANSWERED),
    read=read_text,
)
