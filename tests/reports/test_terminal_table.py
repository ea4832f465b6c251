import io

import pytest
from rich.console import Console

from lorary.evaluation import Result
from lorary.reports import render_table, result_grid

SEVEN = ("base", "random", "uniform", "multi-task", "single:a_name_that_goes_on", "calibrated", "oracle")


def printed(grid, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render_table(grid, width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


@pytest.fixture
def make_grid():
    """Arranges losses around 2 and more, of tasks with long names on some routes."""

    def make(num_tasks, routes):
        scores = {
            (f"task{task:04d}_a_name_that_goes_on_and_on", route, "loss"): (2.0 + place, 2.1 + place)
            for task in range(num_tasks)
            for place, route in enumerate(routes)
        }
        return result_grid(Result(scores), "loss")

    return make


@pytest.mark.parametrize("width", [40, 80, 100])
def test_every_number_and_every_name_is_whole_however_narrow_the_terminal_is(make_grid, width):
    lines = printed(make_grid(5, SEVEN), width)
    numbers = [word for line in lines for word in line.split() if word.startswith("±.05")]
    assert len(numbers) == 5 * 7
    # A name that is longer than its column is continued on the next line.
    for place in [place for place, line in enumerate(lines) if line.strip().startswith("task0003")]:
        parts = [line.split()[0] for line in lines[place : place + 3] if line.strip()]
        assert "".join(parts).startswith("task0003_a_name_that_goes_on_and_on")
    for route in ("random", "multi-task", "calibrated"):
        assert sum(route in line.split() for line in lines) == 1
    # Route names that are longer than a column of numbers are continued on the next line too.
    (at,) = (place for place, line in enumerate(lines) if "single:a_" in line.split())
    assert "name_that_" in lines[at + 1].split() and "goes_on" in lines[at + 2].split()


def test_a_long_name_is_continued_after_a_sign_if_it_has_one(make_grid):
    lines = printed(make_grid(1, ("base", "multi-task-all", "merge:a_name_longer_than_that")), 100)
    heading = [word for line in lines[1:6] for word in line.split()]
    assert [word for word in heading if word in ("multi-task-", "all")] == ["multi-task-", "all"]
    pieces = ["merge:a_", "name_longer_", "than_that"]
    assert [word for word in heading if word in pieces] == pieces


def test_columns_that_do_not_fit_are_in_further_tables_with_about_as_many_columns(make_grid):
    lines = printed(make_grid(2, SEVEN), 80)
    titles = [line.strip() for line in lines if "nats per target" in line or "continued" in line]
    assert titles[0] == "loss, nats per target token (lower is better)" and titles[-1].endswith("continued")
    assert [line.count("±") for line in lines if line.strip().startswith("mean of 2")] == [4, 3]
    assert sum("standard error" in line for line in lines) == 1
    assert len([line for line in printed(make_grid(2, SEVEN), 140) if "nats" in line]) == 1


def test_the_best_of_a_row_is_marked_without_colours_too(make_grid):
    row = next(line for line in printed(make_grid(1, SEVEN[:3]), 80) if "2.05" in line)
    assert row.split()[-6:] == ["2.05", "±.05*", "3.05", "±.05", "4.05", "±.05"]
    caption = " ".join(" ".join(printed(make_grid(1, SEVEN[:3]), 80)).split())
    assert "Marked *: the best value of each row." in caption
