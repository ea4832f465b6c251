"""Tables of numbers on a terminal: wide ones become several tables, and nothing in them is truncated."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lorary.files import escape
from lorary.reports.tables import Cell, Grid, Row, describe_marks

MARK = "*"
STARRED = f"Marked {MARK}"
# Names of rows and headings are continued on the next line after this number of characters, if space is
# short.
LABEL_WIDTH, HEADING_WIDTH = 20, 12
GAP, BORDERS = 1, 2
SIGN_AT_END = re.compile(r".+[-_:./]")


def render_table(grid: Grid, width: int = 100) -> Group:
    """Draw a grid for the terminal; if it is too wide, as several tables with some of the columns each.

    Long names are continued on the next line. The best values are marked by a star, and by a colour.

    Args:
        grid: the table.
        width: of the terminal, in characters.
    """
    widths = [_measure_column(grid, index) for index in range(len(grid.columns))]
    rows = [*grid.rows, *([grid.footer] if grid.footer is not None else [])]
    longest = max((len(escape(row.label, keep="")) for row in rows), default=1)
    room = width - BORDERS
    parts = _divide(widths, room - min(longest, LABEL_WIDTH))
    most = max(LABEL_WIDTH, room - max(sum(widths[index] for index in part) for part in parts))
    # The lines of a name have about the same length.
    label_width = ceil(longest / ceil(longest / most))
    tables = [
        _draw(grid, part, label_width, is_first=place == 0, is_last=place == len(parts) - 1)
        for place, part in enumerate(parts)
    ]
    return Group(*tables)


def _divide(widths: Sequence[int], room: int) -> list[range]:
    """Divide columns into the fewest consecutive parts that fit, with about as many columns in each."""
    for count in range(1, len(widths) + 1):
        bounds = [round(place * len(widths) / count) for place in range(count + 1)]
        parts = [range(start, end) for start, end in pairwise(bounds)]
        if count == len(widths) or all(sum(widths[index] for index in part) <= room for part in parts):
            return parts
    return [range(0)]


def _draw(grid: Grid, part: range, label_width: int, *, is_first: bool, is_last: bool) -> Table:
    title = grid.title if is_first else f"{grid.title}, continued"
    table = Table(
        title=Text(title, "table.title"),
        caption=Text(describe_marks(grid, STARRED) if is_last else "", "table.caption"),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("", width=label_width, overflow="fold")
    depth = max((len(_split_uses(grid, index)) for index in part), default=0)
    for index in part:
        heading = Text("\n".join(_split_heading(grid.columns[index])))
        # Every name has the same number of lines below it, so that the names are in one line.
        below = [*_split_uses(grid, index), *[" "] * depth][:depth]
        heading.append("".join(f"\n{word}" for word in below), style="dim")
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for index, row in enumerate(grid.rows):
        ends = index == len(grid.rows) - 1 and grid.footer is not None
        table.add_row(*_row_texts(row, part), end_section=ends)
    if grid.footer is not None:
        table.add_row(*_row_texts(grid.footer, part), style="bold")
    return table


def _split_heading(column: str) -> Iterator[str]:
    """Break a heading at its blanks, and words that are too long within them, if possible after a sign."""
    for word in escape(column, keep="").split(" "):
        while len(word) > HEADING_WIDTH:
            sign = SIGN_AT_END.match(word[:HEADING_WIDTH])
            end = HEADING_WIDTH if sign is None else sign.end()
            yield word[:end]
            word = word[end:]
        yield word


def _split_uses(grid: Grid, index: int) -> list[str]:
    return list(_split_heading(grid.uses[index])) if grid.uses and grid.uses[index] else []


def _measure_column(grid: Grid, index: int) -> int:
    rows = [*grid.rows, *([grid.footer] if grid.footer is not None else [])]
    words = (*_split_heading(grid.columns[index]), *_split_uses(grid, index))
    cells = (_cell_text(row.cells[index]).plain for row in rows)
    return GAP + max(map(len, (*words, *cells)))


def _row_texts(row: Row, part: range) -> list[Text]:
    return [Text(escape(row.label, keep="")), *(_cell_text(row.cells[index]) for index in part)]


def _cell_text(cell: Cell) -> Text:
    text = Text(cell.text, style="bold green" if cell.is_best else "")
    if cell.error:
        text.append(" " + cell.error, style="dim")
    # The blank keeps numbers aligned.
    text.append(MARK if cell.is_best else " ")
    return text
