"""Work before an answer is told while it is done: silence looks like a hang."""

import json
import shutil
from pathlib import Path

import pytest

from lorary.cli.bars import show_work
from lorary.training.objectives.gate_config import choose_gate_steps

PROMPT = "plural of mouse"
CALIBRATING = "calibrating 3 experts on generic requests, once: the result is stored"
WRITING = "generating text with the base model to calibrate experts on, once for this base model"


@pytest.fixture
def new_library(trained_library, tmp_path, monkeypatch):
    """The folder of a library of three experts, and an empty cache, without anything known about them."""
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(trained_library, tmp_path / "new"))
    shutil.rmtree(folder / ".lorary/artifacts", ignore_errors=True)
    return str(folder)


def test_the_first_answer_tells_why_it_takes_long_and_the_second_is_quiet(lorary, new_library):
    words = ("generate", new_library, PROMPT, "--max-new-tokens", "1")
    _, output, errors = lorary(*words)
    told = errors.splitlines()
    assert [line for line in told if line in (WRITING, CALIBRATING)] in (
        [WRITING, CALIBRATING],
        [CALIBRATING, WRITING],
    )
    assert "calibrating" not in output
    assert "calibrating" not in lorary(*words)[2]


def test_building_and_evaluating_tell_it_too(lorary, new_library, tmp_path):
    copy = str(shutil.copytree(new_library, tmp_path / "copy"))
    assert CALIBRATING in lorary("build", new_library, "--out", str(tmp_path / "model"))[2].splitlines()
    tasks = ("--tasks", "synthetic:plurals", "--evaluation.num_examples", "1")
    _, _, errors = lorary("eval", copy, *tasks, "--routes", "base,calibrated,arrow")
    told = errors.splitlines()
    assert CALIBRATING in told
    assert "computing prototypes of 3 experts, once: the result is stored" in told


def test_a_terminal_shows_the_steps_and_removes_them(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with show_work("loading") as show:
        show("calibrating", 0, 0)
        show("calibrating", 3, 7)
    shown = capsys.readouterr().err
    assert "calibrating (3 of 7)" in shown and shown.endswith("\x1b[2K")
    show("calibrating more", 0, 0)
    assert capsys.readouterr().err == "calibrating more\n"


def test_a_pipe_gets_a_line_for_each_kind_of_work(capsys):
    with show_work("loading") as show:
        for step in range(3):
            show("one", step, 2)
        show("two", 0, 0)
    assert capsys.readouterr().err == "one\ntwo\n"


@pytest.mark.parametrize(("sizes", "steps"), [([4], 20), ([40, 64], 40), ([100, 10**6], 200)])
def test_gates_of_small_tasks_are_trained_shortly(sizes, steps):
    assert choose_gate_steps(sizes) == steps


def test_the_steps_of_gates_are_an_option_of_their_router(lorary, new_library):
    tasks = ("--tasks", *(f"synthetic:{name}" for name in ("plurals", "prices", "past_tense")))
    words = ("eval", new_library, *tasks, "--evaluation.num_examples", "1")
    code, _, errors = lorary(*words, "--routes", "phatgoose", "--phatgoose.num_steps", "1")
    said = "computing the gates of 3 experts, 1 step of training"
    assert code == 0 and said in " ".join(errors.split())
    code, _, errors = lorary(*words, "--routes", "phatgoose", "--phatgoose.num_steps", "1")
    assert code == 0 and "computing" not in errors, "the gates are stored"
    code, _, errors = lorary(*words, "--routes", "base", "--phatgoose.num_steps", "1")
    assert code == 2 and "options of router 'phatgoose' are given, but it is not used" in errors
    code, _, errors = lorary(*words, "--routes", "phatgoose", "--phatgoose.num_steps", "0")
    assert code == 2 and "--phatgoose.num_steps must be at least 1, found 0" in errors


def test_examples_that_are_too_long_for_gates_are_left_out(lorary, new_library, tmp_path):
    long = tmp_path / "plurals.jsonl"
    rows = [
        {"input": f"cat {number}", "output": "cats" * (400 if number == 1 else 1)} for number in range(40)
    ]
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = (f"plurals={long}", "synthetic:prices", "synthetic:past_tense")
    words = (
        "eval",
        new_library,
        "--tasks",
        *tasks,
        "--evaluation.num_examples",
        "1",
        "--routes",
        "phatgoose",
    )
    code, _, errors = lorary(*words, "--phatgoose.num_steps", "1")
    assert code == 0, errors
    assert "1 example left out as too long" in " ".join(errors.split())
