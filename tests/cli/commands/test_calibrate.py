import json

import pytest

from lorary.cli.commands.calibrate import run as command
from lorary.evaluation.tuning import Tuning
from lorary.library import Library
from lorary.routing import CalibratedConfig

FOUND = {
    "options": {"margin": 0.25},
    "num_chosen_on": 10,
    "num_held_out": 10,
    "loss_before": 2.0,
    "loss": 1.5,
    "error": 0.1,
}


@pytest.fixture
def library(trained_library, tmp_path):
    """A copy of the library, which the command changes."""
    copy = Library.open(str(tmp_path / "copy"), create=True)
    copy.add_all(dict(Library.open(trained_library).items()))
    return copy


@pytest.fixture
def tune(monkeypatch):
    """Sets the outcome of a tuning."""
    return lambda **other: monkeypatch.setattr(
        command, "tune_calibrated", lambda *args, **named: Tuning(**{**FOUND, **other})
    )


def test_experts_are_calibrated_once_ahead_of_their_first_answer(lorary, library):
    code, output, said = lorary("calibrate", library.url)
    assert code == 0 and f"calibrated 3 experts of {library.url}" in output
    assert "calibrating 3 experts on generic requests, once: the result is stored" in said
    assert f"next: lorary generate {library.url} PROMPT" in output
    _, output, said = lorary("calibrate", library.url, "--json")
    assert json.loads(output)["experts"] == ["past_tense", "plurals", "prices"]
    assert "calibrating 3 experts" not in said


def test_tuned_options_are_stored_used_and_removed(lorary, library, tune, tmp_path):
    tune()
    code, output, _ = lorary("calibrate", library.url, "--tasks", "synthetic:plurals")
    assert code == 0
    assert "margin 0.25, chosen on 10 examples" in output
    assert (
        "loss 1.500 instead of 2.000 on 10 held-out examples (difference -0.500 ± 0.100)" in output
        and library.tuned("calibrated") == {"margin": 0.25}
    )
    ask = ("generate", library.url, "plural of mouse", "--max-new-tokens", "2")
    told = "router calibrated with options tuned for this library: margin 0.25"
    assert told in lorary(*ask)[2]
    assert told not in lorary(*ask, "--calibrated.margin", "0.3")[2]
    # The default, if a user gives it, in words or in a file.
    default = CalibratedConfig().margin
    assert told not in lorary(*ask, "--calibrated.margin", str(default))[2]
    (tmp_path / "options.yaml").write_text(f"calibrated: {{margin: {default}}}\n")
    assert told not in lorary(*ask, "--config", str(tmp_path / "options.yaml"))[2]
    assert lorary("calibrate", library.url, "--reset")[0] == 0
    assert library.tuned("calibrated") == {} and told not in lorary(*ask)[2]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"loss": 1.95}, "not better by more than one standard error"),
        ({"options": {}, "loss": 2.0}, "the default options are the best ones"),
    ],
)
def test_options_that_are_not_better_on_held_out_examples_are_not_stored(lorary, library, tune, other, told):
    tune(**other)
    code, output, _ = lorary("calibrate", library.url, "--tasks", "synthetic:plurals")
    assert code == 0 and told in " ".join(output.split()) and library.tuned("calibrated") == {}


def test_the_router_is_tuned_on_validation_examples_unless_told_otherwise(lorary, library, monkeypatch):
    """Guards a default of the test split, on which later evaluations measure the tuned router."""
    splits = []
    monkeypatch.setattr(
        command, "tune_calibrated", lambda *args, **named: splits.append(args[3].split) or Tuning(**FOUND)
    )
    ask = ("calibrate", library.url, "--tasks", "synthetic:plurals")
    assert lorary(*ask)[0] == lorary(*ask, "--evaluation.split", "train")[0] == 0
    assert splits == ["validation", "train"]


def test_reset_and_tasks_exclude_each_other(lorary, library):
    code, _, said = lorary("calibrate", library.url, "--reset", "--tasks", "synthetic:plurals")
    assert code == 2 and "--reset removes tuned options, and --tasks tunes them" in said
