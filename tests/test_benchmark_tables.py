"""The tables of benchmarks are made of several results, in which routes may be missing."""

import runpy
import sys
from pathlib import Path

import pytest

from lorary.evaluation import Result
from lorary.evaluation.measures import Metric

EXAMPLES = Path(__file__).parent.parent / "examples"
CHOICES = {"base": (0, 0, 1, 0), "arrow": (1, 1, 1, 1), "oracle": (0, 1, 1, 0)}


@pytest.fixture
def results(tmp_path):
    """Two files: two benchmarks by acc, of which oracle lacks the second; and one generated benchmark."""
    choice = {
        (task, route, "acc"): values
        for task in ("piqa", "mmlu")
        for route, values in CHOICES.items()
        if (task, route) != ("mmlu", "oracle")
    }
    generated = {("gsm8k", route, "pass"): values for route, values in CHOICES.items()}
    again = {("piqa", "base", "acc"): (1, 1, 1, 1)}
    for name, scores in (("choice", choice), ("generated", {**generated, **again})):
        ids = {(task, metric): ("a", "b", "c", "d") for task, _, metric in scores}
        metrics = {
            metric: Metric(
                name=metric, title=f"{metric}, chat template off", description=metric, lower_is_better=False
            )
            for _, metric in ids
        }
        Result(scores, (), {}, metrics, ids).to_json(tmp_path / f"{name}.json")
    return [str(tmp_path / "choice.json"), str(tmp_path / "generated.json")]


def run_script(monkeypatch, name, *words):
    """Run an example as a user does."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_a_mean_is_over_benchmarks_that_all_of_its_routes_have(results, monkeypatch, capsys):
    run_script(monkeypatch, "benchmark_tables.py", *results)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "**acc, pass; chat template off**"
    assert lines[2] == "| | base | Arrow | oracle |"
    # The second file has piqa under base too: the first one counts.
    assert "| PIQA | 0.250 ±.250 | **1.000** ±.000 | 0.500 ±.289 |" in lines
    assert "| MMLU | 0.250 ±.250 | **1.000** ±.000 | · |" in lines
    assert "| mean of 3 | 0.250 ±.144 | **1.000** ±.000 | · |" in lines
    assert "| mean of the 2 of oracle | 0.250 ±.177 | **1.000** ±.000 | 0.500 ±.204 |" in lines
    assert any(line.startswith("| oracle, 2 of 3 | +0.250 ±.177 |") for line in lines)
    assert "| PIQA | +0.75 none ±.70 | +0.25 none ±.70 |" in lines
    assert "| MMLU | +0.75 none ±.70 | · |" in lines


def test_metrics_and_routes_are_chosen(results, monkeypatch, capsys):
    run_script(monkeypatch, "benchmark_tables.py", *results, "--metrics", "acc", "--routes", "oracle")
    out = capsys.readouterr().out
    assert "GSM8K" not in out
    assert "| | base | oracle |" in out


def test_a_route_that_was_not_measured_is_refused(results, monkeypatch):
    with pytest.raises(ValueError, match=r"must have the routes \['wudi'\]"):
        run_script(monkeypatch, "benchmark_tables.py", *results, "--routes", "wudi")


def test_the_figure_has_a_panel_for_each_route(results, monkeypatch, tmp_path):
    place = tmp_path / "figure.svg"
    run_script(monkeypatch, "benchmark_figure.py", *results, "--to", str(place))
    text = place.read_text()
    assert "Arrow" in text
    assert "(task names)" in text
