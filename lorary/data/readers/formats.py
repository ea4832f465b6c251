"""The table of row formats, and choosing the format of a row."""

import re
from typing import NamedTuple

from lorary.data.readers.alpaca import ALPACA
from lorary.data.readers.boolq import BOOLQ
from lorary.data.readers.hellaswag import HELLASWAG
from lorary.data.readers.kto import KTO
from lorary.data.readers.labelled_choices import LABELLED_CHOICES
from lorary.data.readers.messages import MESSAGES
from lorary.data.readers.natural_instructions import NATURAL_INSTRUCTIONS
from lorary.data.readers.numbered_choices import NUMBERED_CHOICES
from lorary.data.readers.pairs import PAIR
from lorary.data.readers.piqa import PIQA
from lorary.data.readers.preference import PREFERENCE
from lorary.data.readers.row_format import Row, RowFormat, name_keys
from lorary.data.readers.self_instruct import SELF_INSTRUCT
from lorary.data.readers.sharegpt import SHAREGPT
from lorary.data.readers.social_i_qa import SOCIAL_I_QA
from lorary.data.readers.squad import SQUAD
from lorary.data.readers.text import TEXT
from lorary.data.readers.winogrande import WINOGRANDE
from lorary.errors import suggest
from lorary.files import quote

# The first format that matches a row reads it, so formats with more fields come before those with fewer.
FORMATS: dict[str, RowFormat] = {
    "preference": PREFERENCE,
    "kto": KTO,
    "messages": MESSAGES,
    "sharegpt": SHAREGPT,
    "labelled-choices": LABELLED_CHOICES,
    "numbered-choices": NUMBERED_CHOICES,
    "social-i-qa": SOCIAL_I_QA,
    "boolq": BOOLQ,
    "piqa": PIQA,
    "hellaswag": HELLASWAG,
    "winogrande": WINOGRANDE,
    "squad": SQUAD,
    "self-instruct": SELF_INSTRUCT,
    "alpaca": ALPACA,
    "pair": PAIR,
    "natural-instructions": NATURAL_INSTRUCTIONS,
    "text": TEXT,
}


class FormatNote(NamedTuple):
    """The description of a format, for documentation and help."""

    name: str
    keys: str
    """The fields that a row of this format has."""
    meaning: str
    """Which fields become the prompt and which the target."""
    example: Row
    """An example row."""


NUMBERS = ("id", "idx", "index")
"""Columns that number rows."""


def describe_formats() -> list[FormatNote]:
    """Describe every format, in the order in which they are tried."""
    return [FormatNote(name, kind.keys, kind.meaning, kind.example) for name, kind in FORMATS.items()]


def find_format(name: str) -> RowFormat:
    """Return the format called ``name``.

    Raises:
        ValueError: if there is no such format; the message has the nearest names.
    """
    if name not in FORMATS:
        raise ValueError(f"there is no format {quote(name, 60)}: {suggest(name, FORMATS)}")
    return FORMATS[name]


def match_format(row: Row) -> str | None:
    """Return the name of the first format whose fields ``row`` has; None if there is none."""
    return next((name for name, candidate in FORMATS.items() if candidate.matches(row)), None)


def detect_format(row: Row) -> str:
    """Return the name of the first format whose fields ``row`` has.

    Raises:
        ValueError: if there is none; the message has the row's fields and advice.
    """
    found = match_format(row)
    if found is None:
        raise ValueError(
            f"the row is of no known format, its fields are {name_keys(row)}: map its columns, "
            f"as in {_propose_columns(row)}, or name one of the formats {', '.join(FORMATS)}"
        )
    return found


def _propose_columns(row: Row) -> str:
    """Write ``--columns`` with the row's own first and last column, if these can be typed as they are."""
    # Values are not looked at, since reading one would count its column as used.
    names = [name for name in row if re.fullmatch(r"[\w.-]{1,40}", name) and name.casefold() not in NUMBERS]
    first, last = (names[0], names[-1]) if len(names) > 1 else ("question", "answer")
    return f"--columns input={first} target={last}"
