import json

import pytest

from lorary.errors import TrainingError
from lorary.training.folder.run_folder import count_finished
from tests.training.folder.made_runs import (
    IDENTITY,
    assert_same_state,
    find_finished,
    keep,
    load,
    make_expert,
    make_progress,
    make_trainee,
    open_run,
)


def test_a_saved_state_comes_back_bit_for_bit(folder):
    state = {"poetry v1.2": make_trainee(2), "sql": make_trainee(0, seed=1)}
    folder.save_state(state)
    assert_same_state(load(folder), state)
    assert_same_state(load(open_run(folder.path, IDENTITY)), state)


def test_a_folder_without_state_has_nothing_to_take_up(folder):
    assert load(folder) == {}


def test_saving_replaces_what_was_saved_and_leaves_nothing_else(folder):
    for name in ("poetry", "sql"):
        folder.save_state({name: make_trainee()})
    assert load(folder).keys() == {"sql"}
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "state.safetensors", "finished"}


def test_a_state_of_nobody_is_no_state(folder):
    """Guards a bug: safetensors wrote an empty file that nothing could read again."""
    folder.save_state({"sql": make_trainee()})
    folder.save_state({})
    assert load(folder) == {}
    assert not (folder.path / "state.safetensors").exists()


def test_the_same_run_may_come_back(folder):
    open_run(folder.path, json.loads(json.dumps(IDENTITY)))


def test_a_fresh_run_throws_away_the_old_one(folder):
    keep(folder, make_expert(), make_progress())
    folder.save_state({"sql": make_trainee()})
    (folder.path / "notes.txt").write_text("mine")
    fresh = open_run(folder.path, {"configuration": {}}, fresh=True)
    assert find_finished(fresh) is None and load(fresh) == {}
    assert (folder.path / "notes.txt").read_text() == "mine"


def test_what_a_killed_run_was_writing_is_swept_away(folder):
    for parent in (folder.path, folder.path / "finished"):
        (parent / ".lorary-a").write_text("half a file")
        (parent / ".lorary-b").mkdir()
        (parent / ".lorary-b" / "half").write_text("half a folder")
    open_run(folder.path, IDENTITY)
    assert {path.name for path in folder.path.rglob("*")} == {"run.json", "finished"}


def test_another_run_is_refused_with_what_differs(folder):
    other = {
        "configuration": {**IDENTITY["configuration"], "rank": 4},
        "base model": "abd",
        "examples": {"law": "1", "sql": "1"},
    }
    with pytest.raises(TrainingError) as error:
        open_run(folder.path, other)
    assert str(error.value) == (
        f"{str(folder.path)!r} has another run, which differs in base model ('abc' there, 'abd' here); "
        "configuration rank (2 there, 4 here); examples law (None there, '1' here); "
        "examples poetry ('1' there, None here): use another folder, or start over with fresh=True (--fresh)"
    )


def test_of_many_differences_a_few_are_named(folder):
    other = {**IDENTITY, "examples": {f"{'x' * 100} {number}": "1" for number in range(50)}}
    with pytest.raises(TrainingError, match="and 48 more: use another folder") as error:
        open_run(folder.path, other)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "content",
    [
        b'{"configuration": ',
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b'{"a": ' + b"9" * 10**6 + b"}",
        b'{"a": "\\ud800"}',
        b'"' + b"x" * 17_000_000 + b'"',
    ],
    ids=lambda content: str(content[:12]),
)
def test_a_damaged_identity_is_refused(folder, content):
    (folder.path / "run.json").write_bytes(content)
    message = r"run\.json' is damaged \(.+\): start over with fresh=True"
    with pytest.raises(TrainingError, match=message) as error:
        open_run(folder.path, IDENTITY)
    assert len(str(error.value)) < 1000
    open_run(folder.path, IDENTITY, fresh=True)


def test_finished_experts_are_counted_without_reading_them(folder, tmp_path):
    assert count_finished(tmp_path / "nothing", ["sql"]) is None
    assert count_finished(folder.path, ["poetry", "sql"]) == 0
    (folder.path / "finished").rmdir()
    (folder.path / "finished").write_text("a file")
    assert count_finished(folder.path, ["poetry", "sql"]) == 0
