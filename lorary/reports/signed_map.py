"""A table of positive and negative numbers, coloured by sign and size, as a piece of HTML."""

from collections.abc import Mapping, Sequence

from lorary.files import escape_html
from lorary.reports.palette import NUM_HEAT_STEPS
from lorary.reports.routing_html import heat_table

Cells = Mapping[str, Mapping[str, float]]
"""Row -> column -> value; missing values are empty cells."""


def signed_map(
    cells: Cells,
    columns: Sequence[str],
    *,
    scale: float,
    digits: int,
    own: Mapping[str, str] | None = None,
) -> str:
    """Draw a table of values: blue above zero, orange below, white at zero.

    Args:
        cells: the values.
        columns: the columns, in order.
        scale: the absolute value from which on cells have the full colour.
        digits: number of digits after the decimal point.
        own: row -> the column whose cell is framed.
    """
    rows = {
        row: [
            _cell(row, column, values.get(column), scale, digits, (own or {}).get(row) == column)
            for column in columns
        ]
        for row, values in cells.items()
    }
    return heat_table(rows, columns)


def _cell(row: str, column: str, value: float | None, scale: float, digits: int, is_own: bool) -> str:
    if value is None:
        return "<td></td>"
    step = round(min(abs(value) / scale, 1.0) * (NUM_HEAT_STEPS - 1)) if scale > 0 else 0
    classes = f"{'n' if value < 0 else 'h'}{step}" + (" own" if is_own else "")
    # The format's z removes the minus sign of values that are rounded to zero.
    text = f"{value:z.{digits}f}"
    return f'<td class="{classes}" title="{escape_html(f"{row}: {column}")} {text}">{text}</td>'
