import json
import sys
import warnings
from types import SimpleNamespace

import pytest

from lorary.cli.commands.train import trackers
from lorary.cli.commands.train.options import TRACKER_NAMES
from lorary.library import Library


def test_the_options_name_every_tracker():
    assert tuple(trackers.TRACKERS) == TRACKER_NAMES


def test_every_loss_is_reported_once_at_its_step(train_quickly, write_rows, tmp_path, monkeypatch):
    told, closed, defined = [], [], []

    def init(**settings):
        told.append(settings)
        return SimpleNamespace(
            log=told.append,
            finish=lambda: closed.append(True),
            define_metric=lambda name, step_metric: defined.append((name, step_metric)),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __spec__=SimpleNamespace()))
    code, _, errors = train_quickly(
        *("--tasks", write_rows("a.jsonl"), write_rows("b.jsonl", start=50)),
        *("--report-to", "wandb", "--training.validate_every", "1", "--run", str(tmp_path / "run")),
    )
    assert code == 0, errors
    settings, *logged = told
    assert settings["project"] == "lorary" and settings["config"]["rank"] == 2
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    for name, found in curves.items():
        for kind, curve in (("loss", found["train"]), ("validation_loss", found["validation"])):
            own = [entry for entry in logged if f"{name}/{kind}" in entry]
            assert [[entry[f"{name}/step"], entry[f"{name}/{kind}"]] for entry in own] == curve
    assert closed == [True]
    assert defined == [(f"{name}/*", f"{name}/step") for name in curves]


def test_tensorboard_writes_its_file_into_the_runs_folder(train_quickly, write_rows, tmp_path):
    pytest.importorskip("tensorboard")
    words = ("--report-to", "tensorboard", "--run", str(tmp_path / "run"))
    assert train_quickly("--tasks", write_rows("a.jsonl"), *words)[0] == 0
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, at its first import
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(file)).Reload()
    curve = json.loads((tmp_path / "run" / "curves.json").read_text())["a"]["train"]
    found = [(event.step, event.value) for event in events.Scalars("a/loss")]
    assert found == [(step, pytest.approx(loss)) for step, loss in curve]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_trained(
    train_quickly, write_rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    code, _, errors = train_quickly("--tasks", write_rows("a.jsonl"), "--report-to", "wandb", "tensorboard")
    assert code == 2 and not (tmp_path / "lib").exists()
    told = " ".join(errors.split())
    assert "--report-to wandb needs the package wandb: pip install wandb; tensorboard needs" in told


def test_tags_and_notes_of_a_training_are_in_the_cards(train_quickly, write_rows, tmp_path):
    words = ("--tags", "art", "english", "art", "--notes", "Of our poems.")
    assert train_quickly("--tasks", write_rows("a.jsonl"), *words)[0] == 0
    card = Library.open(tmp_path / "lib")["a"].card
    assert card.tags == ("art", "english") and card.description == "Of our poems."


def test_tags_are_refused_where_no_experts_are_trained(train_quickly, write_rows):
    words = ("--method", "poly", "--skills.num_skills", "2", "--tags", "art")
    code, _, errors = train_quickly("--tasks", write_rows("a.jsonl"), *words)
    assert code == 2
    assert "--tags are for the cards of --method experts, found --method poly" in " ".join(errors.split())
