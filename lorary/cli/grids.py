"""Print tables of numbers that ``lorary.reports`` arranges."""

from lorary.cli.console import PIPE_WIDTH, open_console
from lorary.reports import render_table
from lorary.reports.tables import Grid


def print_grid(grid: Grid) -> None:
    """Print a table; on a terminal that is too narrow, as several tables."""
    console = open_console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(render_table(grid, console.width))
