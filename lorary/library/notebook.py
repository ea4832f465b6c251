"""The display of a library's experts in a notebook."""

from collections.abc import Sequence

from lorary.files import html_table, say_count
from lorary.library.entry import Entry

MOST_SHOWN = 50
COLUMNS = ("expert", "role", "base model", "rank", "parameters", "tasks", "tags")


def draw_entries(title: str, entries: Sequence[Entry], note: str = "") -> str:
    """Draw a table of experts; of many, the first ones."""
    rows = [
        (
            entry.name,
            entry.card.role,
            entry.base_model,
            "" if entry.max_rank is None else str(entry.max_rank),
            "" if entry.num_parameters is None else f"{entry.num_parameters:,}",
            ", ".join(entry.card.tasks),
            ", ".join(entry.card.tags),
        )
        for entry in entries[:MOST_SHOWN]
    ]
    more = len(entries) - len(rows)
    notes = [f"and {say_count(more, 'expert')} more" if more else "", note]
    return html_table(title, rows, columns=COLUMNS, note="; ".join(filter(None, notes)))
