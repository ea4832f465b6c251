"""Every kind of row there is a reader for, and which one a row needs."""

from lorary.data.readers.boolq import BOOLQ
from lorary.data.readers.hellaswag import HELLASWAG
from lorary.data.readers.labelled_choices import LABELLED_CHOICES
from lorary.data.readers.messages import MESSAGES
from lorary.data.readers.natural_instructions import NATURAL_INSTRUCTIONS
from lorary.data.readers.numbered_choices import NUMBERED_CHOICES
from lorary.data.readers.pairs import PAIR
from lorary.data.readers.piqa import PIQA
from lorary.data.readers.row_format import Row, RowFormat, name_keys
from lorary.data.readers.social_i_qa import SOCIAL_I_QA
from lorary.data.readers.winogrande import WINOGRANDE
from lorary.errors import suggest
from lorary.files import quote

# The first that matches reads: what asks for more fields stands before what asks for fewer.
FORMATS: dict[str, RowFormat] = {
    "messages": MESSAGES,
    "labelled-choices": LABELLED_CHOICES,
    "numbered-choices": NUMBERED_CHOICES,
    "social-i-qa": SOCIAL_I_QA,
    "boolq": BOOLQ,
    "piqa": PIQA,
    "hellaswag": HELLASWAG,
    "winogrande": WINOGRANDE,
    "pair": PAIR,
    "natural-instructions": NATURAL_INSTRUCTIONS,
}


def find_format(name: str) -> RowFormat:
    """Return the format called ``name``.

    Raises:
        ValueError: if there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"there is no format {quote(name, 60)}: {suggest(name, FORMATS)}")
    return FORMATS[name]


def detect_format(row: Row) -> RowFormat:
    """Return the format whose fields ``row`` has.

    Raises:
        ValueError: if it has those of none; names its fields and the known formats.
    """
    for candidate in FORMATS.values():
        if candidate.matches(row):
            return candidate
    known = "; ".join(f"{name} ({candidate.keys})" for name, candidate in FORMATS.items())
    raise ValueError(
        f"the row is of no known format, its fields are {name_keys(row)}; known formats: {known}"
    )
