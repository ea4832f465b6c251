"""Pieces of HTML for pages and notebooks, in which every text is escaped."""

import html
from collections.abc import Collection, Sequence

from lorary.files.quoting import escape

PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


def escape_html(text: str) -> str:
    """Escape any text for HTML, as content or in quoted attributes.

    Control characters become their symbols. Other invisible characters, such as direction marks and lone
    surrogates, become escapes such as ``\\u202e``.
    """
    return html.escape(escape(text.translate(PICTURES)), quote=True)


def html_table(
    caption: str,
    rows: Sequence[Sequence[str]],
    *,
    columns: Sequence[str] = (),
    bold: Collection[tuple[int, int]] = (),
    note: str = "",
) -> str:
    """Draw a table for a notebook, whose style sheet determines its colours.

    Args:
        caption: the line above.
        rows: one text per column.
        columns: the headings; none for rows of a name and a text.
        bold: (row, column) of cells to print bold.
        note: a line below.
    """
    left = ' style="text-align:left"'
    head = "".join(f"<th{left}>{escape_html(column)}</th>" for column in columns)
    lines = []
    for number, row in enumerate(rows):
        cells = [escape_html(text) for text in row]
        marked = (f"<b>{cell}</b>" if (number, place) in bold else cell for place, cell in enumerate(cells))
        lines.append(f"<tr>{''.join(f'<td{left}>{cell}</td>' for cell in marked)}</tr>")
    opening = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return (
        f"<div><div><b>{escape_html(caption)}</b></div>"
        f"<table>{opening}<tbody>{''.join(lines)}</tbody></table>"
        f"{f'<div>{escape_html(note)}</div>' if note else ''}</div>"
    )
