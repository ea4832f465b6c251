import json

import pytest

from lorary.evaluation import Result
from tests.benchmark_rows import write_benchmarks

FEW = ("--evaluation.num_examples", "3")


@pytest.fixture
def run(lorary, trained_library, tmp_path):
    """Measures benchmarks of a small folder."""
    folder = str(write_benchmarks(tmp_path / "data"))
    return lambda *words: lorary("eval", trained_library, "--data", folder, *FEW, *words)


def test_benchmarks_are_measured_offline_under_several_routes(run, tmp_path):
    out = tmp_path / "out"
    code, output, _ = run("--harness", "arc_easy,piqa", "--routes", "base,calibrated", "--out", str(out))
    assert code == 0
    assert "lm-eval 0.4.13, chat template off" in " ".join(output.split())
    found = Result.from_json(out / "results.json")
    assert found.tasks == ("arc_easy", "piqa") and found.routes == ("base", "calibrated")
    assert len(found.values("piqa", "calibrated", "acc")) == 3
    settings = found.headers[0]["settings"]
    assert len(settings["data"]) == 2 and all(len(digest) == 64 for digest in settings["data"].values())


def test_oracle_takes_the_expert_whose_card_names_the_benchmark(run, trained_library, lorary):
    code, _, told = run("--harness", "piqa", "--routes", "oracle")
    assert code == 2 and "the oracle needs an expert of each task" in told


def test_everything_that_is_wrong_is_told_at_once(lorary, trained_library):
    code, _, told = lorary("eval", trained_library, "--harness", ",", "--metrics", "loss")
    assert code == 2
    text = " ".join(told.split())
    assert "--harness must name at least one task" in text
    assert "--harness needs --data, the folder of the benchmarks' files" in text
    assert "--metrics is for --tasks: tasks of --harness have their own metrics" in text


def test_neither_tasks_nor_benchmarks_are_refused(lorary, trained_library):
    code, _, told = lorary("eval", trained_library)
    assert code == 2 and "lorary eval needs --tasks or --harness" in told


def test_code_is_refused_without_leave(run):
    code, _, told = run("--harness", "humaneval,arc_eazy")
    text = " ".join(told.split())
    assert code == 2
    assert "no task is called 'arc_eazy': did you mean 'arc_easy'" in text
    assert "allow it with --allow-code" in text


def test_json_has_the_same_numbers(run):
    code, output, _ = run("--harness", "boolq", "--routes", "base,uniform", "--json")
    assert code == 0
    assert set(json.loads(output)) == {"acc"}
    assert json.loads(output)["acc"]["tasks"]["boolq"]["base"]["examples"] == 3
