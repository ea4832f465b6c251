"""A run folder that was damaged: refused by name, and what the message advises brings the run to its end."""

import json
import os
import re
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lorary.errors import TrainingError
from lorary.training import train_experts
from lorary.training.folder.state_file import SEAL

NAMES = ("alpha", "beta", "gamma", "delta")


@pytest.fixture(scope="module")
def settings(make_examples, make_config):
    """Four experts for two slots: of two finished ones and two in training, something can be damaged."""
    examples = {name: make_examples(shift, num_train=6, num_validation=2) for shift, name in enumerate(NAMES)}
    config = make_config(num_slots=2, max_steps=3, validate_every=2, checkpoint_seconds=0)
    return {"examples": examples, "config": config}


@pytest.fixture(scope="module")
def whole(build_base, settings, tmp_path_factory):
    """What an undisturbed run gives."""
    return train_experts(build_base(), **settings, run_folder=tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def stopped(build_base, settings, tmp_path_factory):
    """The folder of a run that was stopped with two experts finished and two in training."""
    folder = tmp_path_factory.mktemp("stopped")

    def stop(event):
        if event.num_finished == 2 and event.num_steps == 2 * 3 + 2 * 2:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        train_experts(build_base(), **settings, run_folder=folder, on_progress=stop)
    assert {path.name for path in (folder / "finished").iterdir()} == {"alpha", "beta"}
    assert (folder / "state.safetensors").exists()
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.fixture
def resume(base, settings):
    return lambda folder, **changes: train_experts(base, **{**settings, **changes}, run_folder=folder)


def assert_same_bits(found, expected):
    assert list(found.experts) == list(NAMES)
    for name in NAMES:
        assert found.progress[name] == expected.progress[name]
        for path, pair in expected.experts[name].factors.items():
            for one, other in zip(found.experts[name].factors[path], pair, strict=True):
                assert torch.equal(one, other), (name, path)


def make_old(folder):
    """Take from a folder what earlier versions did not write."""
    path = folder / "state.safetensors"
    rewrite_state(path, lambda tensors, metadata: None)
    for record in folder.glob("finished/*/progress.json"):
        found = json.loads(record.read_text())
        for key in ("expert", "run", "files", "sha256"):
            del found[key]
        record.write_text(json.dumps(found))


def rewrite_state(path, change):
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is no mapping)
        metadata = file.metadata()
    metadata.pop(SEAL, None)
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def test_a_stopped_run_goes_on_to_the_same_bits(folder, resume, whole):
    assert_same_bits(resume(folder), whole)


def test_a_run_of_an_earlier_version_goes_on_to_the_same_bits(folder, resume, whole):
    make_old(folder)
    assert_same_bits(resume(folder), whole)


def flip_a_bit(name):
    def damage(folder):
        content = bytearray((folder / name).read_bytes())
        content[-20] ^= 64
        (folder / name).write_bytes(content)

    return damage


def exchange_folders(folder):
    for source, target in (("alpha", "kept"), ("beta", "alpha"), ("kept", "beta")):
        os.replace(folder / "finished" / source, folder / "finished" / target)
    shutil.rmtree(folder / "finished" / "beta")


def take_anothers_folder(folder):
    shutil.rmtree(folder / "finished/alpha")
    shutil.copytree(folder / "finished/beta", folder / "finished/alpha")


def change_alpha(folder):
    path = folder / "finished/alpha/adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 64}))


def forget_the_optimiser(folder):
    def change(tensors, metadata):
        for key in [*tensors]:
            if "exp_avg" in key or key.endswith("/step"):
                del tensors[key]

    rewrite_state(folder / "state.safetensors", change)


def step_back(folder):
    def change(tensors, metadata):
        metadata["gamma"] = json.dumps({**json.loads(metadata["gamma"]), "step": -1})

    rewrite_state(folder / "state.safetensors", change)


def shrink_the_weights(folder):
    """Guards a harm: one number was broadcast over all of an expert's parameters."""
    rewrite_state(
        folder / "state.safetensors",
        lambda tensors, metadata: tensors.update({"gamma/values": torch.zeros(1)}),
    )


def put_pipe(name):
    def damage(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


DAMAGE = {
    "a flipped bit in the state": (flip_a_bit("state.safetensors"), "state.safetensors"),
    "no optimiser state": (forget_the_optimiser, "state.safetensors"),
    "a negative step": (step_back, "state.safetensors"),
    "weights of another shape": (shrink_the_weights, "state.safetensors"),
    "a pipe as state": (put_pipe("state.safetensors"), "state.safetensors"),
    "a flipped bit in finished weights": (
        flip_a_bit("finished/alpha/adapter_model.safetensors"),
        "finished/alpha",
    ),
    "a flipped bit in curves": (flip_a_bit("finished/alpha/progress.json"), "finished/alpha"),
    "another expert's folder": (take_anothers_folder, "finished/alpha"),
    "exchanged folders": (exchange_folders, "finished/alpha"),
    "another alpha": (change_alpha, "finished/alpha"),
    "a pipe as curves": (put_pipe("finished/alpha/progress.json"), "finished/alpha"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_by_name_and_what_is_advised_helps(
    folder, resume, whole, damage, base, is_plain, assert_same_factors
):
    change, part = DAMAGE[damage]
    change(folder)
    with pytest.raises(TrainingError, match=rf"{re.escape(str(folder / part))}' is damaged") as error:
        resume(folder)
    assert "delete" in str(error.value) and len(str(error.value)) < 1000
    assert is_plain(base.model)
    kept = folder / "finished/beta/adapter_model.safetensors"
    before = kept.stat().st_mtime_ns if kept.exists() else None
    place = folder / part
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    found = resume(folder)
    # An expert that is trained beside others is the same but for rounding.
    for name in NAMES:
        assert_same_factors(found.experts[name].factors, whole.experts[name].factors)
    assert before is None or kept.stat().st_mtime_ns == before


def test_an_expert_under_the_same_name_of_another_run_is_refused(
    folder, resume, settings, make_config, base, tmp_path
):
    """Guards a harm: an expert trained with another alpha was given as this run's."""
    config = make_config(num_slots=2, max_steps=3, validate_every=2, checkpoint_seconds=0, alpha=64)
    train_experts(base, settings["examples"], config, tmp_path / "other")
    shutil.rmtree(folder / "finished/alpha")
    shutil.copytree(tmp_path / "other/finished/alpha", folder / "finished/alpha")
    with pytest.raises(
        TrainingError, match=r"finished/alpha' is damaged \(it belongs to another run\): delete"
    ):
        resume(folder)
    make_old(folder)
    with pytest.raises(TrainingError, match=r"\(it was trained with other settings \(.*\)\): delete"):
        resume(folder)


def test_a_lost_marker_and_anothers_state_are_not_taken_up(folder, resume, make_config):
    """Guards a harm: without its run.json a folder was given to any run that came."""
    (folder / "run.json").unlink()
    config = make_config(num_slots=2, max_steps=3, validate_every=2, checkpoint_seconds=0, alpha=64)
    with pytest.raises(TrainingError, match="it belongs to another run"):
        resume(folder, config=config)


def test_damage_done_to_one_expert_is_forgotten_by_starting_over(folder, resume, whole):
    change_alpha(folder)
    step_back(folder)
    assert_same_bits(resume(folder, fresh=True), whole)
