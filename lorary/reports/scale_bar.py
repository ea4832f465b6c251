"""The legend of a heat map: a strip of its colours, with the numbers at its ends."""

from collections.abc import Sequence

from lorary.files import escape_html
from lorary.reports.palette import NUM_HEAT_STEPS


def share_bar() -> str:
    """Draw the colours of shares from 0 to 100 percent."""
    return _draw_strip([f"h{step}" for step in range(NUM_HEAT_STEPS)], "0%", "100%")


def signed_bar(low: str, high: str) -> str:
    """Draw the colours of a ``signed_map``; the numbers are those from which on colours are full."""
    below = [f"n{step}" for step in reversed(range(1, NUM_HEAT_STEPS))]
    return _draw_strip([*below, *(f"h{step}" for step in range(NUM_HEAT_STEPS))], low, high)


def _draw_strip(classes: Sequence[str], low: str, high: str) -> str:
    cells = "".join(f'<i class="{name}"></i>' for name in classes)
    ends = escape_html(low), escape_html(high)
    return (
        f'<p class="scale"><span>{ends[0]}</span><b aria-hidden="true">{cells}</b><span>{ends[1]}</span></p>'
    )
