"""Two runs never share a folder, and a dead one blocks nobody."""

import errno
import fcntl
import os
import socket
import subprocess
import sys

import pytest

from lorary.errors import TrainingError
from lorary.training import train_experts
from lorary.training.folder.lock import LOCK_FILE, hold_run_folder

HOLD = """
import sys, time
from lorary.training.folder.lock import hold_run_folder
with hold_run_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_run(tmp_path):
    """A process that holds ``tmp_path / "run"``."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE)
    with child:
        assert child.stdout.readline() == b"held\n"
        yield child
        child.kill()


def test_a_folder_is_free_again_however_the_run_ended(tmp_path):
    for _ in range(2):
        with hold_run_folder(tmp_path / "new" / "run"):
            pass
        with pytest.raises(KeyboardInterrupt), hold_run_folder(tmp_path / "new" / "run"):
            raise KeyboardInterrupt


def test_a_second_process_is_refused_and_the_lock_of_a_killed_one_is_taken_over(other_run, tmp_path):
    message = rf"another run \(process {other_run.pid}\) is training in '.*run': wait until it has finished"
    with pytest.raises(TrainingError, match=message), hold_run_folder(tmp_path / "run"):
        pass
    other_run.kill()
    other_run.wait()
    with hold_run_folder(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK_FILE).read_text() == str(os.getpid())


def test_a_second_run_of_this_process_is_refused(tmp_path):
    with hold_run_folder(tmp_path):
        second = hold_run_folder(tmp_path)
        with pytest.raises(TrainingError, match=rf"process {os.getpid()}\)"), second:
            pass
    with hold_run_folder(tmp_path):
        pass


def test_training_starts_over_in_no_folder_that_another_run_is_using(
    base, make_examples, make_config, tmp_path
):
    examples, config = {"alpha": make_examples(1)}, make_config(max_steps=1)
    train_experts(base, examples, config, tmp_path / "run")
    files = sorted(path for path in (tmp_path / "run").rglob("*") if path.name != LOCK_FILE)
    with hold_run_folder(tmp_path / "run"), pytest.raises(TrainingError, match="another run"):
        train_experts(base, examples, config, tmp_path / "run", fresh=True)
    assert sorted(path for path in (tmp_path / "run").rglob("*") if path.name != LOCK_FILE) == files
    train_experts(base, examples, config, tmp_path / "run", fresh=True)


def test_a_file_system_without_locks_can_be_trained_on_but_other_faults_are_told(tmp_path, monkeypatch):
    def refuse(code):
        def flock(*arguments):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", flock)

    refuse(errno.ENOSYS)
    with hold_run_folder(tmp_path):
        pass
    refuse(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), hold_run_folder(tmp_path):
        pass


@pytest.fixture
def foreign(tmp_path):
    """A file of somebody else's."""
    path = tmp_path / "mine.txt"
    path.write_text("mine")
    return path


def refused(folder, found):
    message = rf"run\.lock' is damaged \(.*{found}.*\): delete it; it has only the number of a process"
    return pytest.raises(TrainingError, match=message)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_lock_that_is_a_link_makes_and_empties_nothing_elsewhere(tmp_path, foreign, is_there):
    """Guards a harm: a lock that pointed elsewhere made a file there, or emptied the one that was there."""
    target = foreign if is_there else tmp_path / "new.txt"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).symlink_to(target)
    with refused(tmp_path, "found a symbolic link"), hold_run_folder(tmp_path / "run"):
        pass
    assert foreign.read_text() == "mine"
    assert target.exists() is is_there


def test_a_lock_that_is_another_name_of_a_file_empties_nothing(tmp_path, foreign):
    (tmp_path / "run").mkdir()
    os.link(foreign, tmp_path / "run" / LOCK_FILE)
    with refused(tmp_path, "must have one name, found several hard links"), hold_run_folder(tmp_path / "run"):
        pass
    assert foreign.read_text() == "mine"


def test_a_lock_that_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / LOCK_FILE)
    with refused(tmp_path, "found a named pipe"), hold_run_folder(tmp_path):
        pass
    (tmp_path / LOCK_FILE).unlink()
    (tmp_path / LOCK_FILE).mkdir()
    with refused(tmp_path, "found a folder"), hold_run_folder(tmp_path):
        pass
    (tmp_path / LOCK_FILE).rmdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / LOCK_FILE))
        with refused(tmp_path, "found a socket"), hold_run_folder(tmp_path):
            pass


def test_a_run_folder_that_is_a_file_is_refused(foreign):
    for folder in (foreign, foreign / "run"):
        with (
            pytest.raises(TrainingError, match=r"must be a folder, found a file .*: use another folder"),
            hold_run_folder(folder),
        ):
            pass
    assert foreign.read_text() == "mine"


def test_what_a_foreign_lock_holds_is_not_shown(tmp_path):
    """Guards a harm: escape sequences in a lock reached the terminal."""
    with hold_run_folder(tmp_path):
        (tmp_path / LOCK_FILE).write_bytes(b"\x1b]0;owned\x07")
        second = hold_run_folder(tmp_path)
        with pytest.raises(TrainingError, match="another run is training in") as error, second:
            pass
    assert str(error.value).isprintable()
