"""Plain rows: a question and its answer, under the field names that data sets use."""

from lorary.data.readers.alpaca import read_history
from lorary.data.readers.chat import take_system, take_tools
from lorary.data.readers.row_format import Row, RowFormat, is_filled, name_keys, take_answers, take_text
from lorary.data.task import Example

PAIRS = (
    ("input", "target"),
    ("inputs", "targets"),
    ("prompt", "completion"),
    ("prompt", "target"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("question", "answer"),
    ("question", "response"),
    ("question", "sql"),
    ("query", "response"),
    ("query", "answer"),
    ("question", "query"),
    ("problem", "solution"),
    ("document", "summary"),
    ("article", "highlights"),
    ("dialogue", "summary"),
    ("text", "code"),
)
"""Names of question and answer field: lorary's own, FLAN's, P3's, of completion data, GSM8K, and others."""

# P3's completions end with the end-of-text mark of the model that they were made for.
END_OF_TEXT = "<|endoftext|>"


def read_pair(row: Row) -> Example:
    """Read a row with one of ``PAIRS``; the answer is a text, or a list of texts that are all right.

    A ``context`` is put before the question, after the turns of ``system`` and ``history``. A ``definition``
    becomes the example's definition.
    """
    pair = _find_pair(row)
    if pair is None:
        raise ValueError(_explain_lack(row))
    asked, answered = pair
    answers = row[answered] if isinstance(row[answered], list | tuple) else [row[answered]]
    context = [take_text(row, "context")] if is_filled(row, "context") else []
    return Example(
        "\n\n".join([*context, take_text(row, asked)]),
        take_answers({answered: [_strip_end(answer) for answer in answers]}, answered),
        definition=take_text(row, "definition") if is_filled(row, "definition") else None,
        history=(*take_system(row), *read_history(row)),
        tools=take_tools(row),
    )


def _find_pair(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if all(name in row for name in pair)), None)


def _explain_lack(row: Row) -> str:
    """Return the message about a row without an answer, or without a question."""
    asked = next((asked for asked, _ in PAIRS if asked in row), None)
    if asked is not None:
        wanted = " or ".join(repr(answered) for other, answered in PAIRS if other == asked)
        return f"a row with {asked!r} must have {wanted} too, found {name_keys(row)}"
    return (
        f"the row must have a question and its answer, such as 'prompt' and 'completion', found "
        f"{name_keys(row)}: map its columns, as in --columns input=question target=answer"
    )


def _strip_end(answer: object) -> object:
    return answer.rstrip().removesuffix(END_OF_TEXT) if isinstance(answer, str) else answer


PAIR = RowFormat(
    keys=" | ".join(f"{asked}, {answered}" for asked, answered in PAIRS)
    + "; context, definition, system, history, tools if there are any",
    meaning="system, history, context and question are the prompt, the answer is the target",
    example={"question": "How many cats?", "context": "Cats: 2", "answer": "2"},
    matches=lambda row: _find_pair(row) is not None,
    read=read_pair,
)
