"""The final table, from results that are known."""

import math
from pathlib import Path

import pytest

from lorary.cli.protocols.protocol import BaseSizes, Protocol, Row, Scale, Stage
from lorary.cli.protocols.resolve import ReadyProtocol, ReadyStage
from lorary.cli.protocols.results import read_cells, tabulate_cells, write_table
from lorary.evaluation import Result
from lorary.evaluation.columns import Record

RECORDS = [
    *(Record("piqa", "arrow", "accuracy_sum", value) for value in (1.0, 0.0, 1.0, 1.0)),
    *(Record("piqa", "arrow", "loss", value) for value in (2.0, 4.0, 2.0, 4.0)),
    *(Record("code", "arrow", "exact_match", value) for value in (1.0, 0.0)),
    *(Record("other", "arrow", "accuracy_sum", value) for value in (0.0, 0.0)),
]


def make_ready(out: Path, *rows: Row) -> ReadyProtocol:
    stage = Stage(name="measure", does="x", command=("data", "show"))
    scale = Scale(name="full", sizes=BaseSizes(parameters=1, layers=1, hidden=1, width=1))
    protocol = Protocol(
        name="own", title="A|B", paper="none", about="", scales={"full": scale}, stages=(stage,), table=rows
    )
    ready = ReadyStage(stage=stage, words=(), makes=(), cost={})
    values = {"benchmarks": ["piqa", "code"]}
    return ReadyProtocol(protocol=protocol, scale=scale, out=out, stages=(ready,), values=values)


@pytest.fixture
def out(tmp_path):
    Result.from_records(RECORDS).to_json(tmp_path / "measure" / "results.json")
    return tmp_path


def test_each_task_has_its_own_metric_and_the_mean_is_over_the_tasks_of_the_row(out):
    published = {"mean": 60.0, "piqa": 80.5}
    row = Row(
        row="Arrow", stage="measure", route="arrow", tasks="benchmarks", published=published, source="table|1"
    )
    ready = make_ready(out, row)
    mean, piqa, code = cells = read_cells(ready)
    assert [cell.task for cell in cells] == ["mean", "piqa", "code"]
    assert (mean.ours, piqa.ours, code.ours) == (62.5, 75.0, 50.0)
    assert mean.error == pytest.approx(math.hypot(piqa.error, code.error) / 2)
    assert tabulate_cells(cells, is_comparable=True)[0] == (
        "Arrow",
        "mean",
        "62.5",
        f"{mean.error:.1f}",
        "60.0",
        "+2.5",
    )
    assert tabulate_cells(cells, is_comparable=True)[2][4:] == ("–", "–")
    text = write_table(ready, cells)
    assert text.startswith("# A\\|B\n")
    assert "| Arrow | piqa | 75.0 | 25.0 | 80.5 | -5.5 |\n" in text
    assert text.endswith("\n\nPublished for Arrow: table\\|1\n")


def test_the_published_number_stands_beside_a_random_model_without_a_difference(out):
    row = Row(row="Arrow", stage="measure", route="arrow", tasks="benchmarks", published={"mean": 60.0})
    cells = read_cells(make_ready(out, row))
    assert tabulate_cells(cells, is_comparable=False)[0][4:] == ("60.0", "–")
    assert cells[0].source is None


def test_losses_are_shown_as_they_are(out):
    row = Row(row="Arrow", stage="measure", route="arrow", metric="loss")
    assert [(cell.task, cell.ours) for cell in read_cells(make_ready(out, row))] == [
        ("mean", 3.0),
        ("piqa", 3.0),
    ]


def test_a_route_that_was_not_measured_is_refused(out):
    row = Row(row="x", stage="measure", route="uniform")
    with pytest.raises(
        ValueError,
        match="has no results of route 'uniform': it has routes arrow and metrics accuracy_sum, loss",
    ):
        read_cells(make_ready(out, row))
