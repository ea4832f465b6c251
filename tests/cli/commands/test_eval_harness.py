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


def test_a_base_model_is_measured_without_a_library(run, lorary, tiny_base, tmp_path):
    words = ("--harness", "arc_easy", "--json")
    folder = str(tmp_path / "data")
    code, output, _ = lorary("eval", "--base", tiny_base, "--data", folder, *FEW, *words)
    assert code == 0 and json.loads(output) == json.loads(run(*words, "--routes", "base")[1])


def test_everything_that_is_wrong_is_told_at_once(lorary, trained_library):
    code, _, told = lorary(
        "eval", trained_library, "--harness", ",", "--metrics", "loss", "--evaluation.split=train"
    )
    assert code == 2
    text = " ".join(told.split())
    assert "--harness must name at least one task" in text
    assert "--harness needs --data, the folder of the benchmarks' files" in text
    assert "--metrics is for --tasks: tasks of --harness have their own metrics" in text
    assert "--evaluation.split: for --tasks only: tasks of --harness have their own splits" in text


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


def test_a_second_run_of_the_same_takes_all_answers(run, tmp_path, monkeypatch):
    words = ("--harness", "piqa,gsm8k", "--routes", "base,calibrated", "--out", str(tmp_path / "out"))
    few = ("--lm_eval.max_new_tokens", "5")
    code, first, _ = run(*words, *few)
    assert code == 0
    rows = [json.loads(line) for line in (tmp_path / "out/items.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 3
    assert {row["task"] for row in rows} == {"piqa", "gsm8k"}
    assert all(row["prompts"] and row["responses"] and row["values"] and row["targets"] for row in rows)

    def refuse(*args, **told):
        raise AssertionError("an answer was computed again")

    for name in ("score_targets", "generate_answers", "decide_prompts"):
        monkeypatch.setattr(f"lorary.evaluation.responding.{name}", refuse)
    code, second, told = run(*words, *few, "--resume")
    assert code == 0 and second == first
    assert "answers taken from" in told


def test_resuming_needs_a_folder(run):
    code, _, told = run("--harness", "piqa", "--resume")
    assert code == 2 and "--resume needs --out" in told


def test_options_of_benchmarks_are_refused_without_them(lorary, trained_library):
    code, _, told = lorary("eval", trained_library, "--tasks", "synthetic", "--data", "x", "--allow-code")
    text = " ".join(told.split())
    assert code == 2
    assert "--data is for --harness" in text and "--allow-code is for --harness" in text


def test_two_results_are_compared_on_their_common_examples(run, lorary, tmp_path):
    places = [tmp_path / name / "results.json" for name in ("one", "two")]
    for place, number in zip(places, ("3", "4"), strict=True):
        words = ("--harness", "arc_easy", "--routes", "base,uniform", "--out", str(place.parent))
        assert run(*words, "--evaluation.num_examples", number)[0] == 0
    code, output, _ = lorary("eval", "--compare", *map(str, places))
    text = " ".join(output.split())
    assert code == 0
    assert "base (two) minus base (one)" in text and "none" in text
    assert "evaluation differs: {" in text
    assert "4 values without a counterpart in the other result left out" in text
    code, output, _ = lorary("eval", "--compare", *map(str, places), "--json")
    assert json.loads(output)["left_out"] == 4
    code, _, told = lorary("eval", "lib", "--compare", *map(str, places))
    assert code == 2 and "leave out LIBRARY" in told
