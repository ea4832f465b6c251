import os

import pytest

from lorary.errors import TrainingError
from tests.training.folder.made_runs import (
    IDENTITY,
    find_finished,
    keep,
    load,
    make_expert,
    make_progress,
    make_trainee,
    open_run,
    read,
)


def put_link(path, target):
    path.symlink_to(target)


def put_pipe(path, target):
    os.mkfifo(path)


def put_folder(path, target):
    path.mkdir()


@pytest.mark.parametrize("put_there", [put_link, put_pipe, put_folder])
@pytest.mark.parametrize(
    "part", ["run.json", "state.safetensors", "finished/poetry/progress.json", "finished/poetry/expert.json"]
)
def test_what_is_no_file_of_its_own_is_refused_and_never_waited_for(folder, elsewhere, part, put_there):
    keep(folder, make_expert(), make_progress())
    folder.save_state({"sql": make_trainee()})
    path = folder.path / part
    os.replace(path, elsewhere / "target")
    put_there(path, elsewhere / "target")
    with pytest.raises(TrainingError, match="is damaged"):
        read(folder.path)
    assert (elsewhere / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("part", ["finished", "finished/poetry"])
def test_a_link_in_place_of_a_folder_is_refused_and_its_target_stays(folder, elsewhere, part):
    keep(folder, make_expert(), make_progress())
    os.replace(folder.path / part, elsewhere / "target")
    (folder.path / part).symlink_to(elsewhere / "target")
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(
        TrainingError, match=rf"{part}' is damaged \(it is a symbolic link, and links inside a run"
    ):
        find_finished(open_run(folder.path, IDENTITY))
    assert sorted(elsewhere.rglob("*")) == before
    fresh = open_run(folder.path, IDENTITY, fresh=True)
    assert sorted(elsewhere.rglob("*")) == before
    assert find_finished(fresh) is None and (folder.path / "finished").is_dir()


@pytest.mark.parametrize("part", ["finished", "state.safetensors", "run.json"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_starting_over_removes_links_and_never_what_they_point_to(folder, elsewhere, part, is_folder):
    path = folder.path / part
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(elsewhere if is_folder else elsewhere / "mine.txt")
    open_run(folder.path, IDENTITY, fresh=True)
    assert [file.name for file in elsewhere.iterdir()] == ["mine.txt"]
    assert (elsewhere / "mine.txt").read_text() == "mine"


def test_writing_replaces_links_and_never_what_they_point_to(folder, elsewhere):
    for path in (folder.path / "state.safetensors", folder.path / "finished/poetry"):
        path.symlink_to(elsewhere / "mine.txt")
    folder.save_state({"sql": make_trainee()})
    keep(folder, make_expert(), make_progress())
    assert (elsewhere / "mine.txt").read_text() == "mine"
    assert not (folder.path / "state.safetensors").is_symlink()
    assert not (folder.path / "finished/poetry").is_symlink()


def test_a_link_to_a_whole_run_folder_is_the_users_own(folder, tmp_path):
    folder.save_state({"sql": make_trainee()})
    (tmp_path / "shortcut").symlink_to(folder.path)
    assert load(open_run(tmp_path / "shortcut", IDENTITY)).keys() == {"sql"}
