"""Rated rows for KTO: a question, an answer, and whether the answer is good.

Good answers are targets; bad ones are counted, but never used as targets.
"""

from collections.abc import Sequence

from lorary.data.readers.alpaca import ALPACA
from lorary.data.readers.messages import MESSAGES
from lorary.data.readers.pairs import PAIR
from lorary.data.readers.row_format import Row, RowFormat, name_keys
from lorary.data.readers.sharegpt import SHAREGPT
from lorary.data.task import Example
from lorary.files import quote

# LLaMA-Factory's rows have "kto_tag".
LABELS = ("label", "kto_tag")
NUMBERS = {"0": False, "0.0": False, "1": True, "1.0": True}
RATED = (MESSAGES, SHAREGPT, ALPACA, PAIR)


def read_kto(row: Row) -> Example:
    """Read the question and its good answer, as a row without a rating."""
    found = next((candidate for candidate in RATED if candidate.matches(row)), None)
    if found is None:
        raise ValueError(
            "a row with a label must also have the fields of messages, sharegpt, alpaca or pair, found "
            f"{name_keys(row)}"
        )
    return found.read(row)


def part_good(row: Row) -> Sequence[Row]:
    """Return the row if its answer is good; nothing if it is bad."""
    return (row,) if _is_good(row) else ()


def _is_good(row: Row) -> bool:
    name = next((name for name in LABELS if name in row), LABELS[0])
    value = _read_label(row, name)
    if value is None:
        raise ValueError(f"field {name!r} must be true or false, not {quote(row.get(name), 60)}")
    return value


def _read_truth(value: object) -> bool | None:
    """Read a truth value, also as text; None if it is not one."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().casefold())
    return value if isinstance(value, bool) else None


def _read_label(row: Row, name: str) -> bool | None:
    """Read a row's label. Numbers are truth values next to KTO's own fields; elsewhere they are classes."""
    value = row.get(name)
    if {"prompt", "completion"} <= row.keys() and str(value).strip() in NUMBERS:
        return NUMBERS[str(value).strip()]
    return _read_truth(value)


def _matches(row: Row) -> bool:
    is_rated = any(_read_label(row, name) is not None for name in LABELS)
    return is_rated and any(candidate.matches(row) for candidate in RATED)


KTO = RowFormat(
    keys="label | kto_tag (true or false; also 1 or 0 beside prompt, completion), "
    "and the fields of messages, sharegpt, alpaca or pair",
    meaning="rows marked true are read as those without a label, those marked false are never trained on",
    example={"prompt": "Is ice cold?", "completion": "Yes.", "label": True},
    matches=_matches,
    part=part_good,
    read=read_kto,
    count_rejected=lambda row: int(not _is_good(row)),
)
