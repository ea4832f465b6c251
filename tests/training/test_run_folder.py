import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lorary.errors import TrainingError
from lorary.experts import Expert, ExpertCard, Factors
from lorary.training import Progress
from lorary.training import run_folder as room
from lorary.training.run_folder import RunFolder

IDENTITY = {
    "configuration": {"rank": 8, "target_modules": ["q", "v"]},
    "base model": "abc",
    "examples": {"sql": "1"},
}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run", IDENTITY)


@pytest.fixture
def progress():
    return Progress(
        step=3,
        tokens=40,
        train_curve=[(1, 2.5), (2, 2.0), (3, 1.25)],
        validation_curve=[(2, 2.25)],
        best_loss=2.25,
        best_step=2,
        num_worse=1,
    )


@pytest.fixture
def expert():
    factors = {"model.q_proj": Factors(torch.randn(2, 6), torch.randn(4, 2))}
    return Expert("poetry", "org/base", factors, ExpertCard(tasks=("rhymes",)))


def test_a_saved_state_comes_back_bit_for_bit(folder, progress):
    first = {"values": torch.randn(5), "step": torch.tensor(3.0)}
    second = {"values": torch.randn(5), "best_values": torch.randn(5)}
    folder.save_state({"poetry v1.2": (first, progress), "sql": (second, Progress())})
    loaded = folder.load_state()
    assert loaded.keys() == {"poetry v1.2", "sql"}
    for name, tensors, expected in (("poetry v1.2", first, progress), ("sql", second, Progress())):
        found, found_progress = loaded[name]
        assert found_progress == expected
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_a_finished_expert_comes_back_with_its_curves(folder, expert, progress):
    assert folder.finished("poetry") is None
    folder.finish(expert, progress)
    found, found_progress = folder.finished("poetry")
    assert found_progress == progress
    assert (found.name, found.base_model, found.card) == (expert.name, expert.base_model, expert.card)
    for one, other in zip(found.factors["model.q_proj"], expert.factors["model.q_proj"], strict=True):
        assert torch.equal(one, other)


def test_an_expert_is_finished_only_when_its_record_is_there(folder, expert, progress):
    folder.finish(expert, progress)
    (folder.path / "finished/poetry/progress.json").unlink()
    assert folder.finished("poetry") is None
    folder.finish(expert, progress)
    assert folder.finished("poetry") is not None


def test_a_folder_without_state_has_nothing_to_take_up(folder):
    assert folder.load_state() == {}


def test_saving_replaces_what_was_saved_and_leaves_nothing_else(folder):
    for name in ("poetry", "sql"):
        folder.save_state({name: ({"values": torch.zeros(2)}, Progress())})
    assert folder.load_state().keys() == {"sql"}
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "state.safetensors", "finished"}


def test_a_state_of_nobody_is_no_state(folder):
    """Guards a bug: safetensors wrote an empty file that nothing could read again."""
    folder.save_state({"sql": ({"values": torch.zeros(2)}, Progress())})
    folder.save_state({})
    assert folder.load_state() == {}
    assert not (folder.path / "state.safetensors").exists()


def test_the_same_run_may_come_back(folder):
    RunFolder(folder.path, json.loads(json.dumps(IDENTITY)))


def test_a_fresh_run_throws_away_the_old_one(folder, expert, progress):
    folder.finish(expert, progress)
    folder.save_state({"sql": ({"values": torch.zeros(2)}, Progress())})
    (folder.path / "notes.txt").write_text("mine")
    fresh = RunFolder(folder.path, {"configuration": {}}, fresh=True)
    assert fresh.finished("poetry") is None and fresh.load_state() == {}
    assert (folder.path / "notes.txt").read_text() == "mine"


def test_another_run_is_refused_with_what_differs(folder):
    other = {
        "configuration": {"rank": 4, "target_modules": ["q", "v"]},
        "base model": "abd",
        "examples": {"law": "1"},
    }
    with pytest.raises(TrainingError) as error:
        RunFolder(folder.path, other)
    assert str(error.value) == (
        f"{str(folder.path)!r} holds another run, which differs in base model ('abc' there, 'abd' here); "
        "configuration rank (8 there, 4 here); examples law (None there, '1' here); "
        "examples sql ('1' there, None here): take another folder, or start over with fresh=True (--fresh)"
    )


def test_a_damaged_identity_is_refused(folder):
    (folder.path / "run.json").write_text('{"configuration": ')
    with pytest.raises(TrainingError, match=r"run\.json' is damaged \(.+\): start over with fresh=True"):
        RunFolder(folder.path, IDENTITY)


def test_a_damaged_record_is_refused(folder, expert, progress):
    folder.finish(expert, progress)
    (folder.path / "finished/poetry/progress.json").write_text("")
    with pytest.raises(TrainingError, match=r"progress\.json' is damaged"):
        folder.finished("poetry")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def write_garbage(path):
    path.write_bytes(b"garbage")


def empty(path):
    path.write_bytes(b"")


def forget_a_number(path):
    save_file({"sql/values": torch.zeros(2)}, path, metadata={"sql": '{"step": 1}'})


def add_a_number(path):
    record = '{"train_curve": [], "validation_curve": [], "unknown": 1}'
    save_file({"sql/values": torch.zeros(2)}, path, metadata={"sql": record})


def name_another_expert(path):
    save_file({"law/values": torch.zeros(2)}, path, metadata={})


@pytest.mark.parametrize(
    "damage", [truncate, write_garbage, empty, forget_a_number, add_a_number, name_another_expert]
)
def test_a_damaged_state_is_refused(folder, damage):
    folder.save_state({"sql": ({"values": torch.zeros(2)}, Progress())})
    damage(folder.path / "state.safetensors")
    message = r"the saved state '.*state\.safetensors' is damaged \(.+\): delete it to train its experts from"
    with pytest.raises(TrainingError, match=message):
        folder.load_state()


@pytest.mark.parametrize("error", [OSError("no space left"), SafetensorError("no space left")], ids=repr)
@pytest.mark.parametrize("step", ["save_file", "publish"])
def test_a_full_disk_is_reported_and_the_old_state_stays(folder, monkeypatch, step, error):
    folder.save_state({"sql": ({"values": torch.ones(2)}, Progress())})

    def fail(tensors, path, *args, **options):
        if step == "save_file":
            path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(room, step, fail)
    message = r"cannot save the run's state \(4 MB\) in '.+': no space left\. The state saved before is whole"
    with pytest.raises(TrainingError, match=message):
        folder.save_state({"sql": ({"values": torch.zeros(1_000_000)}, Progress())})
    monkeypatch.undo()
    assert torch.equal(folder.load_state()["sql"][0]["values"], torch.ones(2))
    assert not (folder.path / "state.writing").exists()
