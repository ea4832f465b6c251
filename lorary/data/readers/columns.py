"""Reading rows of any kind by a map of columns to the parts of an example."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorary.data.readers.fields import Fields
from lorary.data.readers.row_format import Row, RowFormat, take_text
from lorary.data.task import Example
from lorary.data.turns import Turn
from lorary.errors import suggest
from lorary.files import quote

PARTS = ("input", "target", "system", "definition")
Columns = Mapping[str, str | Sequence[str]]
"""Part of an example -> its column or columns; see ``PARTS``."""


class UnknownColumn(ValueError):
    """A row does not have a column of the map."""


def build_columns_format(columns: Columns) -> RowFormat:
    """Make a format of a map of columns.

    The texts of several columns are joined by empty lines, in the map's order. Numbers and truth values
    become text. Empty values are left out, but at least one column of ``input`` must have text. Without
    ``input``, the target is a text that is learnt from its first word on.

    Raises:
        ValueError: if the map names an unknown part, no target, or no column for a part.
    """
    for part in columns:
        if part not in PARTS:
            raise ValueError(f"columns has no part {quote(part, 60)}: {suggest(str(part), PARTS)}")
    names = {part: _list_names(part, given) for part, given in columns.items()}
    if "target" not in names:
        raise ValueError("columns must name the column of the target, as in target=answer, found none")

    def read(row: Row) -> Example:
        texts = {part: _join_texts(row, part, names[part]) for part in names}
        for part in ("input", "target"):
            if texts.get(part) == "":
                raise ValueError(f"{' and '.join(map(repr, names[part]))} for the {part} must not be empty")
        system = texts.get("system")
        return Example(
            texts.get("input", ""),
            (texts["target"],),
            definition=texts.get("definition") or None,
            history=(Turn("system", system),) if system else (),
        )

    first = {name: "…" for part in names.values() for name in part}
    return RowFormat(
        keys=", ".join(first),
        meaning="what the map of columns says",
        example=first,
        matches=lambda row: all(name in row for name in first),
        read=read,
    )


def _list_names(part: str, given: Any) -> list[str]:
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    is_list = isinstance(names, list | tuple) and names
    if not is_list or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"columns must name a column, or several, for {part!r}, not {quote(given, 60)}")
    return list(names)


def _join_texts(row: Row, part: str, names: Sequence[str]) -> str:
    known = row.columns if isinstance(row, Fields) else {name.casefold() for name in row}
    for name in names:
        if name.casefold() not in known:
            near = suggest(name, list(row))
            raise UnknownColumn(f"there is no column {quote(name, 60)} for the {part}: {near}")
    texts = [_read_text(row, name) for name in names if name in row]
    return "\n\n".join(text for text in texts if text)


def _read_text(row: Row, name: str) -> str:
    value = row[name]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return take_text(row, name) if not isinstance(value, str) or value.strip() else ""
