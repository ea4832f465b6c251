import io
from dataclasses import replace

import pytest
from rich.console import Console

from lorary.evaluation import Result, compare_routes
from lorary.evaluation.measures import Metric
from lorary.evaluation.route_uses import name_uses
from lorary.reports import category_grid, difference_grid, render_markdown, render_table, result_grid
from lorary.reports.tables import format_error


def printed(table, width=100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_the_cells_hold_values_errors_and_the_best(small_result):
    grid = result_grid(small_result, "loss")
    assert grid.columns == ("base", "arrow", "oracle")
    assert [row.label for row in grid.rows] == ["dates", "morse"]
    assert [(c.text, c.error, c.is_best) for c in grid.rows[0].cells] == [
        ("5.00", "±1.00", False),
        ("3.00", "±1.00", False),
        ("2.00", "±1.00", True),
    ]
    assert [c.is_best for c in grid.rows[1].cells] == [False, True, False]
    assert grid.footer.label == "mean of 2 tasks"
    assert [c.text for c in grid.footer.cells] == ["4.50", "2.00", "2.00"]
    # A tie has two winners.
    assert [c.is_best for c in grid.footer.cells] == [False, True, True]


def test_the_best_of_an_accuracy_is_the_highest():
    scores = {("dates", "base", "exact_match"): (1.0, 0.0), ("dates", "arrow", "exact_match"): (1.0, 1.0)}
    grid = result_grid(Result(scores), "exact_match")
    assert [cell.is_best for cell in grid.rows[0].cells] == [False, True]
    assert "higher is better" in grid.title


def test_the_best_of_any_metric_is_marked_by_its_direction():
    metrics = [
        Metric(name=name, title=f"a [b]{name}|*x*", description="y", lower_is_better=lower)
        for name, lower in (("size", True), ("pass@1", False))
    ]
    records = [("dates", route, m.name, v) for m in metrics for route, v in (("base", 1.0), ("arrow", 2.0))]
    result = Result.from_records(records, metrics=metrics)
    for metric, best in (("size", [True, False]), ("pass@1", [False, True])):
        grid = result_grid(result, metric)
        assert [cell.is_best for cell in grid.rows[0].cells] == best
        # Titles may come from a file: they are text, never markup.
        assert f"a [b]{metric}|*x*" in printed(render_table(grid))
        assert "*x*" not in render_markdown(grid).replace("\\*", "")
        (difference,) = compare_routes(result, metric, "base")
        zero = "below" if best[0] else "above"
        assert f"({zero} zero is better)" in difference_grid([difference]).title


def test_the_mean_row_takes_only_tasks_that_every_route_has(small_result):
    result = small_result.merge(Result({("plurals", "base", "loss"): (100.0, 100.0)}))
    grid = result_grid(result, "loss")
    assert [cell.text for cell in grid.rows[2].cells] == ["100.00", "·", "·"]
    assert grid.footer.label == "mean of 2 shared tasks"
    assert grid.footer.cells[0].text == "4.50"


def test_names_that_look_like_markup_are_printed_as_they_are():
    table = render_table(result_grid(Result({("[red]task[/red]", "[b]x", "loss"): (1.0,)}), "loss"))
    assert "[red]task[/red]" in printed(table)
    assert "[b]x" in printed(table)


def test_markdown_is_a_table_with_the_best_in_bold(small_result):
    lines = render_markdown(result_grid(small_result, "loss", digits=1)).splitlines()
    assert lines[0] == "**loss, nats per target token (lower is better)**"
    assert lines[2:8] == [
        "| | base | arrow | oracle |",
        "|---|---:|---:|---:|",
        "| uses |  | experts only | task names |",
        "| dates | 5.0 ±1.0 | 3.0 ±1.0 | **2.0** ±1.0 |",
        "| morse | 4.0 ±1.0 | **1.0** ±.6 | 2.0 ±1.0 |",
        "| mean of 2 tasks | 4.5 ±.7 | **2.0** ±.6 | **2.0** ±.7 |",
    ]


def test_a_pipe_or_line_break_in_a_name_does_not_break_markdown():
    result = Result({("a|b\nc", "base", "loss"): (1.0, 2.0)})
    assert "| a\\|b c | 1.500 ±.500 |" in render_markdown(result_grid(result, "loss", 3))


def test_differences_are_laid_out_with_their_intervals(small_result):
    grid = difference_grid(compare_routes(small_result, "loss", "base"))
    assert [row.label for row in grid.rows] == ["arrow minus base", "oracle minus base"]
    assert grid.rows[0].cells[0].text == "-2.500"
    assert grid.rows[0].cells[0].error == "±.289"
    assert grid.rows[0].cells[0].is_best
    assert grid.rows[0].cells[2].text == "2/0/0"
    assert "arrow minus base" in printed(render_table(grid))
    assert "| **-2.500** ±.289 |" in render_markdown(grid)


def test_what_routes_use_is_a_line_below_their_names_and_a_column_of_differences(small_result):
    grid = result_grid(small_result, "loss")
    assert grid.uses == ("", "experts only", "task names")
    lines = [line.split() for line in printed(render_table(grid)).splitlines()]
    start = lines.index(["base", "arrow", "oracle"])
    assert lines[start : start + 3] == [
        ["base", "arrow", "oracle"],
        ["experts", "task"],
        ["only", "names"],
    ]
    assert not result_grid(Result({("dates", "base", "loss"): (1.0,)}), "loss").uses
    differences = compare_routes(small_result, "loss", "base")
    found = difference_grid(differences, uses=name_uses)
    assert found.columns[-1] == "uses"
    assert [row.cells[-1].text for row in found.rows] == ["experts only", "task names"]
    assert max(map(len, printed(render_table(found, 80), 80).splitlines())) <= 80


def test_an_unknown_interval_is_a_dot():
    scores = {("dates", "base", "loss"): (2.0,), ("dates", "arrow", "loss"): (1.0,)}
    grid = difference_grid(compare_routes(Result(scores), "loss", "base"))
    assert [cell.text for cell in grid.rows[0].cells] == ["-1.000", "·", "1/0/0", "1", "·"]


def test_beside_no_difference_stands_the_smallest_one_that_would_be_shown():
    scores = {("t", route, "loss"): (0.0, 1.0, 2.0, shift) for route, shift in (("base", 1.0), ("a", 2.0))}
    (row,) = difference_grid(compare_routes(Result(scores), "loss", "base")).rows
    assert (row.cells[4].text, row.cells[4].error) == ("none", "±.700")


@pytest.mark.parametrize(
    ("error", "digits", "text"), [(0.049, 2, "±.05"), (1.234, 2, "±1.23"), (0.0, 2, "±.00"), (None, 2, "")]
)
def test_errors_are_written_short(error, digits, text):
    assert format_error(error, digits) == text


def test_a_metric_that_was_not_measured_is_refused(small_result):
    with pytest.raises(ValueError, match=r"this result has no metric 'rouge_l', it has \['loss'\]"):
        render_table(result_grid(small_result, "rouge_l"))


def test_no_differences_make_no_table():
    with pytest.raises(ValueError, match=r"needs exactly one metric, found \[\]"):
        difference_grid([])


def test_categories_have_the_means_of_their_tasks(small_result):
    given = {"dates": ["Writing", "All"], "morse": ["All"], "unknown": ["None"]}
    grid = category_grid(replace(small_result, attachments={"categories": given}), "loss")
    assert [row.label for row in grid.rows] == ["All (2 tasks)", "Writing (1 task)"]
    overall = small_result.overall("arrow", "loss")
    assert grid.rows[0].cells[1].text == f"{overall.mean:.2f}"
    assert grid.rows[0].cells[1].error == f"±{overall.standard_error:.2f}".replace("0.", ".")
    assert grid.rows[1].cells[0].text == "5.00"
    assert category_grid(small_result, "loss") is None
    assert category_grid(replace(small_result, attachments={"categories": 7}), "loss") is None
