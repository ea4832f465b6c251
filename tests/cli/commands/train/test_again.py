"""Runs that go on, are interrupted, or were of another training."""

from contextlib import contextmanager

import torch

from lorary.cli.commands.train import experts as train
from lorary.library import Library


def test_the_same_command_again_finds_all_done(train_quickly, tmp_path):
    """Guards a progress bar of training that was drawn where nothing was trained."""
    _, _, errors = train_quickly("--tasks", "generated:plurals")
    assert "training 1 expert" in errors
    before = Library.open(str(tmp_path / "lib"))["plurals"]
    code, output, errors = train_quickly("--tasks", "generated:plurals")
    assert (code, errors) == (0, "")
    known = "nothing to train: library '{}' already has 1 expert (plurals) from the same data and settings"
    assert output.startswith(known.format(tmp_path / "lib"))
    assert output.splitlines()[-1] == f"next: lorary eval {tmp_path / 'lib'} --tasks generated:plurals"
    after = Library.open(str(tmp_path / "lib"))["plurals"]
    for path, factors in before.factors.items():
        assert torch.equal(factors.b, after.factors[path].b)


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(train_quickly, tmp_path, monkeypatch):
    words = ("--tasks", "generated:plurals", "generated:prices", "--training.num_slots", "1")

    @contextmanager
    def interrupt(what):
        def show(event):
            if event.num_finished == 1 and event.num_steps == 3:
                raise KeyboardInterrupt

        yield show

    with monkeypatch.context() as patch:
        patch.setattr(train, "show_training", interrupt)
        code, _, errors = train_quickly(*words)
    assert code == 130
    assert f"1 of 2 experts finished and stored in library '{tmp_path / 'lib'}'" in errors
    assert "run the same command again, without --fresh, to resume" in errors
    assert list(Library.open(str(tmp_path / "lib"))) == ["plurals"]
    code, output, _ = train_quickly(*words)
    assert code == 0
    assert "resumed, 1 of 2 experts finished, from" in output
    assert sorted(Library.open(str(tmp_path / "lib"))) == ["plurals", "prices"]


def test_experts_are_in_the_library_before_the_others_are_finished(train_quickly, tmp_path, monkeypatch):
    seen = []

    @contextmanager
    def look(what):
        yield lambda event: seen.append((event.num_finished, len(Library.open(str(tmp_path / "lib")))))

    monkeypatch.setattr(train, "show_training", look)
    train_quickly("--tasks", "generated:plurals", "generated:prices", "--training.num_slots", "1")
    assert (1, 1) in seen


def test_an_expert_trained_otherwise_is_replaced_only_if_asked(train_quickly, lorary, tmp_path):
    train_quickly("--tasks", "generated:plurals")
    other = ("--tasks", "generated:plurals", "--training.learning_rate", "0.5", "--fresh")
    code, _, errors = train_quickly(*other)
    assert code == 2
    assert "'plurals' (it was trained with other settings (learning_rate 0.001, not 0.5)): add" in errors
    assert "add --replace to replace it, --continue plurals to continue from it, leave out its task" in errors
    assert Library.open(str(tmp_path / "lib"))["plurals"].card.provenance["training"]["learning_rate"] == 1e-3
    assert train_quickly(*other, "--replace")[0] == 0
    assert Library.open(str(tmp_path / "lib"))["plurals"].card.provenance["training"]["learning_rate"] == 0.5


def test_a_run_folder_of_another_run_is_refused_if_it_is_named(train_quickly, tmp_path):
    place = ("--run", str(tmp_path / "run"))
    train_quickly("--tasks", "generated:plurals", *place)
    code, _, errors = train_quickly("--tasks", "generated:prices", *place)
    assert code == 2
    assert "has another run" in errors
    assert "--fresh" in errors


def test_ctrl_c_before_the_run_has_looked_at_its_folder_stores_nothing_from_there(
    train_quickly, tmp_path, monkeypatch
):
    """Guards a harm: experts that another run had left there came into the library as this one's."""
    words = ("--tasks", "generated:plurals")
    train_quickly(*words)
    other = ("--training.learning_rate", "0.5", "--replace")
    before = Library.open(str(tmp_path / "lib"))["plurals"].card.provenance["date"]

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lorary.training.train.find_layers", interrupt)
    code, _, errors = train_quickly(*words, *other)
    assert code == 130
    assert "0 of 1 expert finished and stored in library" in errors
    assert Library.open(str(tmp_path / "lib"))["plurals"].card.provenance["date"] == before


def test_a_damaged_run_is_one_line_that_says_what_to_delete(train_quickly, tmp_path):
    words = ("--tasks", "generated:plurals")
    train_quickly(*words)
    del Library.open(str(tmp_path / "lib"))["plurals"]
    weights = tmp_path / "lib-run/finished/plurals/adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, _, errors = train_quickly(*words)
    assert code == 2
    assert (
        "finished/plurals' is damaged (adapter_model.safetensors was changed after it was written" in errors
    )
    assert "delete this folder to train expert 'plurals' again" in errors
