import json

import pytest

QUICK = ("--training.max_steps", "2", "--training.batch_size", "2", "--training.max_validation_examples", "3")


@pytest.fixture
def measure(lorary, trained_library, tmp_path, write_rows):
    """Runs the command on two new tasks; its results are in ``tmp_path/out``."""
    places = [write_rows("greek.jsonl"), write_rows("latin.jsonl", start=50)]

    def run(*words):
        return lorary(
            "transfer", trained_library, "--tasks", *places, *QUICK, "--out", str(tmp_path / "out"), *words
        )

    return run


def test_the_matrix_is_printed_written_and_drawn(measure, tmp_path):
    code, output, errors = measure("--starts", "experts,general")
    assert code == 0, errors
    facts, *tables = output.split("validation loss after training, nats per target token\n")
    assert [line.split()[0] for line in facts.splitlines()] == ["library", "base", "tasks", "starts"]
    by_task, by_start = tables[0].split("starts, by the mean gain: loss of fresh minus loss of the start\n")
    heading, *rows = [line.split() for line in by_task.splitlines()]
    assert heading == ["task", "base", "fresh", "best", "better", "best", "start"]
    assert [row[0] for row in rows] == ["greek", "latin"]
    rows = [line.split() for line in by_start.splitlines()]
    assert rows[0] == ["start", "mean", "gain", "error", "tasks", "better", "experts"]
    assert {row[0]: row[-1] for row in rows[1:5]} == {
        "past_tense": "1", "plurals": "1", "prices": "1", "general": "3",
    }  # fmt: skip
    found = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert list(found["starts"]) == ["fresh", "base", "past_tense", "plurals", "prices", "general"]
    assert found["tasks"] == {"greek": 3, "latin": 2}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "**validation loss before training" in table
    assert "| fresh |" in table
    assert (tmp_path / "out" / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "out" / "transfer.svg").read_bytes()
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 10


def test_a_second_run_prints_the_same_without_training(measure, tmp_path):
    first = measure("--starts", "general", "--json")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    second = measure("--starts", "general", "--json")
    assert first[0] == second[0] == 0
    assert json.loads(first[1]) == json.loads(second[1])
    assert "training starts" in first[2]
    assert "training starts" not in second[2]
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}


def test_some_experts_are_chosen(measure):
    code, output, errors = measure("--experts", "prices", "--starts", "experts", "--json")
    assert code == 0, errors
    found = json.loads(output)
    assert list(found["starts"]) == ["fresh", "base", "prices"]
    assert [row["start"] for row in found["ranking"]] == ["prices"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--starts", "cluster"), "did you mean 'clusters'"),
        (("--experts", "price"), "has no expert 'price': did you mean 'prices'"),
        (("--training.max_steps", "-1"), "max_steps must be at least 0"),
        (("--training.rank", "4"), "training.rank"),
        (("--max-length", "1"), "max_length must be at least 2"),
    ],
)
def test_bad_options_are_refused(measure, tmp_path, words, message):
    code, _, errors = measure(*words)
    assert code == 2
    assert message in errors
    assert not (tmp_path / "out").exists()
