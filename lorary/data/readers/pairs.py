"""Plain rows: something asked and what is to be answered, under the field names that data sets use."""

from lorary.data.readers.row_format import Row, RowFormat, clean_text, name_keys, take_text
from lorary.data.task import Example

PAIRS = {
    "input": "target",
    "prompt": "completion",
    "question": "answer",
    "text": "code",
}
"""Question field -> answer field: our own, P3 and completion data, GSM8K, MBPP."""

# P3's completions end with the end-of-text mark of the model they were made for.
END_OF_TEXT = "<|endoftext|>"


def read_pair(row: Row) -> Example:
    """Read a row with one of ``PAIRS``; the answer is a text or a list of texts that are all right."""
    asked, answered = _find_pair(row)
    answers = row[answered] if isinstance(row[answered], list | tuple) else [row[answered]]
    targets = tuple(clean_text(_strip_end(answer), answered) for answer in answers)
    if not targets:
        raise ValueError(f"{answered!r} must have at least one text, the list is empty")
    return Example(take_text(row, asked), targets)


def _find_pair(row: Row) -> tuple[str, str]:
    for asked, answered in PAIRS.items():
        if asked in row and answered in row:
            return asked, answered
    wanted = " or ".join(f"{asked!r} and {answered!r}" for asked, answered in PAIRS.items())
    raise ValueError(f"the row must have fields {wanted}, it has {name_keys(row)}")


def _strip_end(answer: object) -> object:
    return answer.rstrip().removesuffix(END_OF_TEXT) if isinstance(answer, str) else answer


PAIR = RowFormat(
    keys=" | ".join(f"{asked}, {answered}" for asked, answered in PAIRS.items()),
    matches=lambda row: any(asked in row and answered in row for asked, answered in PAIRS.items()),
    read=read_pair,
)
