"""WinoGrande: a sentence with a gap, and two options to fill it."""

from lorary.data.readers.row_format import Row, RowFormat, choose, has_keys, take_index, take_text
from lorary.data.task import Example
from lorary.files import quote


def read_winogrande(row: Row) -> Example:
    """Read a sentence with its two options; the input asks which of them fills the gap."""
    sentence = take_text(row, "sentence")
    if "_" not in sentence:
        raise ValueError(f"field 'sentence' must have a gap written '_', not {quote(sentence, 60)}")
    options = (take_text(row, "option1"), take_text(row, "option2"))
    return choose(f"{sentence}\nWhat does the _ stand for?", options, take_index(row, "answer", 2, first=1))


WINOGRANDE = RowFormat(
    keys="sentence, option1, option2, answer 1 or 2",
    meaning="sentence and a question for its gap are the prompt, the option at answer the target, one of two",
    example={
        "sentence": "The cup broke the jar; the _ was hard.",
        "option1": "cup",
        "option2": "jar",
        "answer": "1",
    },
    matches=has_keys("sentence", "option1", "option2"),
    read=read_winogrande,
)
