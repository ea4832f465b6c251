import json

import pytest

from lorary.errors import TrainingError
from lorary.training import train_experts
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.look import is_training, look_at_run


def test_a_folder_without_a_run_has_none(tmp_path):
    assert look_at_run(tmp_path / "missing") is None
    assert look_at_run(tmp_path) is None and list(tmp_path.iterdir()) == []


def test_a_run_is_complete_when_all_its_experts_are_finished(tmp_path, base, examples, make_config):
    train_experts(base, examples, make_config(), tmp_path)
    run = look_at_run(tmp_path)
    assert run.names == tuple(sorted(examples)) and run.is_complete
    (tmp_path / f"finished/{run.names[0]}/progress.json").unlink()
    assert look_at_run(tmp_path).num_finished == len(examples) - 1 and not look_at_run(tmp_path).is_complete


@pytest.mark.parametrize("examples", [None, 3, [["a", "b"]]], ids=str)
def test_runs_of_other_objectives_have_no_experts(tmp_path, examples):
    (tmp_path / "run.json").write_text(json.dumps({"examples": examples}))
    assert look_at_run(tmp_path).names == () and not look_at_run(tmp_path).is_complete


def test_what_is_damaged_is_told(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(TrainingError, match=r"run.json' is damaged"):
        look_at_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"examples": {"../up": "x"}}))
    with pytest.raises(TrainingError, match="damaged"):
        look_at_run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="it must be a folder, found a file"):
        look_at_run(tmp_path / "file")


def test_a_folder_in_use_is_known(tmp_path):
    assert not is_training(tmp_path)
    with hold_run_folder(tmp_path):
        assert is_training(tmp_path)
