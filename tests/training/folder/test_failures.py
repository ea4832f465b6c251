import errno
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from lorary.errors import LoraryError, TrainingError
from lorary.training.folder import state_file
from lorary.training.progress import UnitProgress
from tests.training.folder.made_runs import (
    IDENTITY,
    assert_same_expert,
    assert_same_state,
    find_finished,
    keep,
    load,
    make_expert,
    make_progress,
    make_trainee,
    open_run,
    read,
)


@pytest.mark.parametrize("error", [OSError("no space left"), SafetensorError("no space left")], ids=repr)
@pytest.mark.parametrize("step", ["save_file", "publish"])
def test_a_full_disk_is_reported_and_the_old_state_stays(folder, monkeypatch, step, error):
    folder.save_state({"sql": make_trainee()})

    def fail(tensors, path, *args, **options):
        if step == "save_file":
            path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(state_file, step, fail)
    message = (
        r"cannot save the run's state \(4 MB\) in '.+': no space left\. The state saved before is intact"
    )
    with pytest.raises(TrainingError, match=message):
        folder.save_state({"sql": ({"values": torch.zeros(1_000_000)}, UnitProgress())})
    monkeypatch.undo()
    assert_same_state(load(folder), {"sql": make_trainee()})
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "state.safetensors", "finished"}


def start(folder):
    return open_run(folder, IDENTITY)


def start_over(folder):
    return open_run(folder, IDENTITY, fresh=True)


def save(folder):
    open_run(folder, IDENTITY).save_state({"sql": make_trainee(2, seed=5)})


def clear(folder):
    open_run(folder, IDENTITY).save_state({})


def finish(folder):
    keep(open_run(folder, IDENTITY), make_expert("sql", seed=5), make_progress())


def prepare(path):
    """A run with a finished expert, and another in training."""
    folder = open_run(path, IDENTITY)
    folder.save_state({"sql": make_trainee(1)})
    keep(folder, make_expert(), make_progress())
    return path


def assert_whole(path):
    """Assert that what a resumed run finds is what was there before, or what was being written."""
    opened = open_run(path, IDENTITY)
    state = load(opened)
    if state:
        number = state["sql"][1].step
        assert_same_state(state, {"sql": make_trainee(number, seed=5 if number == 2 else 0)})
    for name, seed in (("poetry", 0), ("sql", 5)):
        found = find_finished(opened, name)
        if found is not None:
            assert_same_expert(found[0], make_expert(name, seed))
    assert not list(path.rglob(".lorary-*"))


WORK = [start, start_over, save, clear, finish, read]
FAILURES = {
    "EIO": OSError(errno.EIO, os.strerror(errno.EIO)),
    "EACCES": PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
    "Ctrl-C": KeyboardInterrupt(),
}


def count_calls(at_call, work, path):
    with at_call(0, None, path) as seen:
        work(path)
    return len(seen)


def fail_with(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_after_a_failure_at_any_call_the_run_goes_on(tmp_path, at_call, work, failure):
    num_calls = count_calls(at_call, work, prepare(tmp_path / "counted"))
    assert num_calls >= 5
    for number in range(1, num_calls + 1):
        path = prepare(tmp_path / str(number))
        with at_call(number, fail_with(FAILURES[failure]), path) as seen:
            try:
                work(path)
            except (LoraryError, OSError, KeyboardInterrupt) as error:
                assert len(str(error)) < 1000  # noqa: PT017 (some failures do no harm)
        assert len(seen) >= number
        assert_whole(path)
        if work is not start_over:
            assert find_finished(open_run(path, IDENTITY)) is not None
        if work in (start, finish, read):
            assert_same_state(load(open_run(path, IDENTITY)), {"sql": make_trainee(1)})


def test_a_failing_read_is_no_missing_file(tmp_path, at_call):
    """Guards a harm: a file that cannot be looked at was taken for one that is not there."""
    num_calls = count_calls(at_call, read, prepare(tmp_path / "counted"))
    for number in range(1, num_calls + 1):
        path = prepare(tmp_path / str(number))
        with at_call(number, fail_with(FAILURES["EIO"]), path):
            try:
                state, finished = read(path)
            except TrainingError:
                continue
        assert state.keys() == {"sql"} and finished is not None


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_after_a_kill_at_any_call_the_run_goes_on(tmp_path, at_call, work):
    num_calls = count_calls(at_call, work, prepare(tmp_path / "counted"))
    for number in range(1, num_calls + 1):
        path = prepare(tmp_path / str(number))
        child = os.fork()
        if child == 0:
            with at_call(number, lambda: os.kill(os.getpid(), signal.SIGKILL), path):
                work(path)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert_whole(path)
        if work is not start_over:
            assert find_finished(open_run(path, IDENTITY)) is not None


def test_a_kill_between_removing_and_starting_over_leaves_no_half(tmp_path, at_call):
    """Guards a harm: what was left of a run that was being thrown away was taken up by another."""
    path = prepare(tmp_path / "run")
    other = {**IDENTITY, "base model": "abd"}
    num_calls = 40
    for number in range(1, num_calls):
        with at_call(number, fail_with(KeyboardInterrupt()), path) as seen:
            try:
                open_run(path, other, fresh=True)
            except KeyboardInterrupt:
                pass
            else:
                break
        assert len(seen) >= number
        try:
            opened = open_run(Path(path), other)
        except TrainingError as error:
            assert "has another run" in str(error)  # noqa: PT017
        else:
            assert load(opened) == {} and find_finished(opened) is None
    else:
        pytest.fail("starting over must end")
