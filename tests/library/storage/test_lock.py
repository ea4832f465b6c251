"""Who may hold a lock at the same time, and several processes that want it at once."""

import json
import os
import threading
from pathlib import Path

import pytest

from lorary.errors import LibraryError
from lorary.library import Library
from lorary.library.storage.lock import ThreadLock
from lorary.library.storage.opening import open_storage


@pytest.fixture
def lock(tmp_path):
    return open_storage(tmp_path).make_lock("private/lock")


@pytest.fixture
def race(local, run_script):
    """Let several processes do something to a library with experts 'a' and 'b'; return what each found."""

    def run(scenario):
        return json.loads(run_script("races.py", scenario, local.url))

    return run


def test_readers_hold_a_lock_together(lock):
    with lock.hold(shared=True), lock.hold(shared=True, timeout=0.0):
        pass


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
def test_a_writer_is_alone(lock, first, second):
    with (
        lock.hold(shared=first),
        pytest.raises(LibraryError, match=r"library .* is busy: another process has been using it for 0 s"),
        lock.hold(shared=second, timeout=0.0),
    ):
        pytest.fail("both hold the lock")


def test_a_lock_is_free_again_after_an_error(lock):
    with pytest.raises(ZeroDivisionError), lock.hold():
        raise ZeroDivisionError
    with lock.hold(timeout=0.0):
        pass


def test_a_library_that_is_gone_does_not_come_back_as_a_lock_file(tmp_path):
    lock = open_storage(tmp_path / "gone").make_lock("private/lock")
    with pytest.raises(FileNotFoundError), lock.hold():
        pytest.fail("there is nothing to lock")
    with lock.hold(shared=True):
        assert os.listdir(tmp_path) == []


def test_threads_are_kept_apart_where_there_are_no_lock_files():
    refused = []

    def enter():
        try:
            with ThreadLock("library 'm'").hold(timeout=0.0):
                pass
        except LibraryError as error:
            refused.append(str(error))

    with ThreadLock("library 'm'").hold():
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert refused == [
        "library 'm' is busy: another thread has been using it for 0 s; try again when that thread has "
        "finished"
    ]


def test_processes_that_add_different_names_at_once_all_succeed(race, local):
    assert race("add_different") == ["added"] * 4
    assert len(local) == 2 + 4 * 3
    assert local.verify() == []


def test_of_processes_that_add_the_same_name_at_once_exactly_one_wins(race, local):
    found = race("add_same")
    [won] = [result for result in found if result.startswith("won")]
    assert local["prize"].card.description == str(float(won.split()[1]))
    told = (
        f"library {local.url!r} already has an expert 'prize': choose another name, or delete that "
        "expert first"
    )
    assert sorted(result for result in found if result != won) == [told] * 3
    assert local.verify() == []


def test_processes_that_replace_the_same_expert_at_once_leave_one_whole(race, local):
    assert race("replace_same") == ["replaced"] * 4
    assert len(local) == 2 and local.verify() == []


def test_processes_that_change_the_same_names_at_once_meet_only_clear_errors(race, local):
    assert all(set(kinds) <= {"LibraryError", "UnknownExpert"} for kinds in race("change_same"))
    assert set(local) <= {"a", "b", "c", "d"} and "b" in local
    assert local.verify() == []


def test_readers_see_the_old_or_the_new_and_never_half_while_another_process_writes(race, local):
    found = race("read_while_writing")
    assert found.count("wrote") == 1
    versions = [number for number in found if number != "wrote"]
    assert all(isinstance(number, int) for number in versions), versions
    assert max(versions) > 1, "no reader met the writer"
    assert sorted(local) == ["a", "b", "end"]


def test_a_library_held_by_a_writer_is_busy_and_says_so(local, make_expert):
    lock = local._storage.make_lock(".lorary/write.lock")
    impatient = Library(local.url, lock_timeout=0.0)
    with (
        lock.hold(),
        pytest.raises(LibraryError, match=r"is busy: .* try again when that process has finished"),
    ):
        impatient.add(make_expert())
    impatient.add(make_expert())


def test_a_lock_that_is_another_one_too_is_refused(local):
    """Guards a hang: tar keeps hard links, and a writer would wait for itself."""
    local.entries()
    folder = Path(local.url) / ".lorary"
    for name in ("write.lock", "gate.lock", "swap.lock"):
        (folder / name).unlink(missing_ok=True)
    (folder / "write.lock").touch()
    for name in ("gate.lock", "swap.lock"):
        (folder / name).hardlink_to(folder / "write.lock")
    with pytest.raises(LibraryError, match="must have one name, found several hard links: remove it"):
        local.entries()
