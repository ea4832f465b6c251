"""Reports: tables, self-contained HTML pages, and pictures of results and routing.

Tables are here; pages and pictures, which need ``matplotlib``, ``scipy`` or ``sklearn``, are imported from
their modules.
"""

from lorary.reports.tables import category_grid, difference_grid, render_markdown, result_grid
from lorary.reports.terminal_table import render_table

__all__ = [
    "category_grid",
    "difference_grid",
    "render_markdown",
    "render_table",
    "result_grid",
]
