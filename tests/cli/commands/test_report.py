import json
from contextlib import contextmanager

import pytest

from lorary.evaluation import Result

TASKS = ("--tasks", "generated:plurals", "generated:prices")
FEW = (
    *("--evaluation.num_examples", "3", "--evaluation.max_new_tokens", "3"),
    *("--traced-examples", "2", "--transfer-examples", "2", "--num-samples", "1"),
)


@pytest.fixture
def report(lorary, trained_library, tmp_path):
    """Makes a report on few examples of two generated tasks."""
    return lambda *words: lorary(
        "report", trained_library, *TASKS, *FEW, "--out", str(tmp_path / "out"), *words
    )


def test_page_and_numbers_are_written_and_people_told_where(report, tmp_path, trained_library):
    code, output, _ = report()
    out = tmp_path / "out"
    assert code == 0
    assert output.startswith(
        f"page: {out / 'report.html'}  numbers: results.json, report.json, transfer.json"
    )
    words = "PROMPT --router calibrated --template plain --show-experts"
    assert output.endswith(f"next: lorary generate {trained_library} {words}\n")
    page = (out / "report.html").read_text()
    for heading in ("Results", "Experts by task", "Transfer", "Similarity of experts", "Token by token"):
        assert f"<h2>{heading}" in page


def test_json_has_the_files_and_the_results(report, tmp_path):
    code, output, _ = report("--json", "--transfer-examples", "0", "--routes", "base,uniform")
    found = json.loads(output)
    assert code == 0 and list(found) == ["files", "facts", "experts", "results"]
    assert found["files"] == {
        name: str(tmp_path / "out" / file)
        for name, file in (("page", "report.html"), ("results", "results.json"), ("report", "report.json"))
    }
    assert found["experts"] == ["past_tense", "plurals", "prices"]
    expected = Result.from_json(tmp_path / "out" / "results.json")
    assert found["results"]["loss"]["mean"]["base"]["mean"] == pytest.approx(
        expected.overall("base", "loss").mean
    )


def test_transfer_is_each_experts_loss_less_the_base_models(report, tmp_path):
    assert report()[0] == 0
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    losses = Result.from_json(tmp_path / "out" / "transfer.json")
    for task in ("plurals", "prices"):
        assert len(losses.values(task, "base", "loss")) == 2
        for name in ("past_tense", "plurals", "prices"):
            expected = losses.mean(task, f"expert:{name}", "loss") - losses.mean(task, "base", "loss")
            assert numbers["transfer"][task][name] == pytest.approx(expected)


def test_tasks_stand_in_the_order_of_their_own_experts_and_strangers_last(lorary, trained_library, tmp_path):
    tasks = (
        "--tasks",
        "generated:past_tense",
        "other=generated:iso_dates",
        "generated:prices",
        "generated:plurals",
    )
    words = ("--routes", "base", "--transfer-examples", "1", "--num-samples", "0", "--traced-examples", "1")
    code, _, said = lorary("report", trained_library, *tasks, *words, "--out", str(tmp_path / "out"))
    assert code == 0, said
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    for part in ("usage_by_task", "transfer"):
        assert list(numbers[part]) == ["past_tense", "plurals", "prices", "other"]


def test_any_ready_router_can_be_looked_into_with_its_options(report, tmp_path):
    words = (
        "--router",
        "calibrated",
        "--calibrated.top_k",
        "1",
        "--routes",
        "base",
        "--transfer-examples",
        "0",
    )
    assert report(*words)[0] == 0
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    facts = numbers["facts"]["router"]
    options = (
        "top_k 1, temperature 0.15, min_p 0.01, margin 1.0, dead_zone 0.0, fallback general, most 1.0, "
        "spread 1.5, most_tokens 32, last_share 0.25, subtract_start True"
    )
    assert facts == f"calibrated (the default router), outputs combined, {options}"
    # All layers have the same experts, so scores are shown instead.
    assert numbers["usage_by_layer"] == numbers["entropy_by_layer"] == {}
    assert set(numbers["scores_by_task"]["plurals"]) == {"scores", "margin"}
    assert numbers["transfer"] is None
    assert not (tmp_path / "out" / "transfer.json").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--traced-examples", "0"), "--traced-examples must be at least 1, found 0"),
        (("--transfer-examples", "-1"), "--transfer-examples must be at least 0, found -1"),
        (("--router", "arow"), "arrow"),
        (("--router", "phatgoose"), "router 'phatgoose' needs training examples of every expert's own task"),
        (("--arrow.top_k", "9"), "top_k"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_loaded(report, words, complaint, monkeypatch):
    monkeypatch.setattr("lorary.cli.base_model.load_base", None)
    code, _, said = report(*words)
    assert code == 2
    assert complaint in said


def test_an_interrupted_report_writes_nothing(report, monkeypatch, tmp_path):
    @contextmanager
    def interrupt(what):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("lorary.cli.commands.report.gather.show_evaluation", interrupt)
    code, _, said = report()
    assert code == 130
    assert "an interrupted report keeps no results" in said
    assert not (tmp_path / "out").exists()
