"""A change happens entirely or not at all, whatever goes wrong at whatever step."""

import json
import os
import shutil
from pathlib import Path

import pytest

from lorary.errors import LibraryError
from lorary.library import Library
from lorary.library.storage.contract import Outcome
from lorary.library.storage.local.publish import Publisher
from lorary.library.storage.opening import open_storage
from lorary.library.storage.places import JOURNAL, TMP, TRASH

MINE, OTHERS = f"{TRASH}/{'a' * 32}", f"{TMP}/{'b' * 32}"


def test_what_a_dead_writer_left_is_not_an_expert(local, make_expert):
    local.add(make_expert("a"))
    shutil.copytree(f"{local.url}/a", f"{local.url}/{TMP}/b")
    assert list(local) == ["a"]


def test_opening_leaves_the_files_of_a_writer_at_work_alone(local, make_expert):
    storage = open_storage(local.url)
    publisher = Publisher(storage)
    with publisher.writing() as change:
        staged = change.stage({"file": b"content"})
        Library.open(local.url)
        assert storage.read(f"{staged}/file") == b"content"
    assert not storage.find_kind(staged)


def test_moves_that_cannot_all_be_made_are_undone(local):
    storage = open_storage(local.url)
    publisher = Publisher(storage)
    with publisher.writing() as change:
        staged = change.stage({"file": b"content"})
        with pytest.raises(FileNotFoundError):
            change.publish([(staged, "x"), ("missing", "y")])
        assert storage.find_kind(f"{staged}/file") and not storage.find_kind("x")
        assert not storage.find_kind(JOURNAL) and change.outcome is Outcome.UNCHANGED


def test_an_unreadable_journal_is_an_error_that_keeps_what_may_be_the_only_copy(local, make_expert):
    local.add(make_expert("a"))
    storage = open_storage(local.url)
    storage.make_folder(TRASH)
    storage.move("a", f"{TRASH}/only-copy")
    storage.write(JOURNAL, b"{")
    for use in (lambda: list(Library.open(local.url)), lambda: Library.settle(local.url)):
        with pytest.raises(LibraryError, match=r"has an invalid .*may be the only copy.*move it back"):
            use()
    assert storage.find_kind(f"{TRASH}/only-copy/adapter_config.json")


@pytest.fixture
def left(local, make_expert):
    """Leave a library in the middle of replacing 'a': the old one is aside, the new one staged."""
    local["a"], local["b"] = make_expert("a", 1), make_expert("b", 2)
    storage = open_storage(local.url)
    local["c"] = make_expert("c", 3)
    for place in (TMP, TRASH):
        storage.make_folder(place)
    storage.move("a", MINE)
    storage.move("c", OTHERS)

    def leave(owner):
        moves = [["a", MINE], [OTHERS, "a"]]
        found = {"moves": moves} if owner is None else {"owner": owner, "moves": moves}
        storage.write(JOURNAL, json.dumps(found).encode())
        return local

    return leave


@pytest.mark.parametrize("owner", [None, "0" * 16])
def test_a_change_that_somebody_else_began_is_refused_until_it_is_settled(left, make_expert, owner):
    """Guards against obeying the journal of a library that was downloaded."""
    library = left(owner)
    before = sorted(Path(library.url).rglob("*"))
    for use in (
        lambda: list(Library.open(library.url)),
        lambda: library["b"],
        lambda: library.add(make_expert("d")),
        lambda: Library.open(library.url).prune(),
        lambda: library.verify(),
    ):
        with pytest.raises(
            LibraryError, match=r"unfinished change of another machine, .*'a' to .*`lorary library settle`"
        ):
            use()
    assert sorted(Path(library.url).rglob("*")) == before
    assert Library.settle(library.url) == [("a", MINE), (OTHERS, "a")]
    assert list(library) == ["a", "b"] and not list(Path(library.url, TRASH).iterdir())
    assert library["a"].factors["layers.0.q_proj"].a.equal(make_expert("c", 3).factors["layers.0.q_proj"].a)
    assert Library.settle(library.url) == []


def test_what_others_staged_is_left_alone_and_what_was_staged_here_is_cleared_away(local, make_expert):
    local["a"] = make_expert("a")
    storage = open_storage(local.url)
    for name in ("keep-me", "0" * 32):
        storage.make_folder(f"{TMP}/{name}/inner")
    with Publisher(storage).writing() as change:
        own = change.stage({"file": b"x"})
        shutil.copytree(f"{local.url}/{own}", f"{local.url}/{own[:-1]}x")
        shutil.move(f"{local.url}/{own}", f"{local.url}/kept")
    shutil.move(f"{local.url}/kept", f"{local.url}/{own}")
    list(Library.open(local.url))
    assert not storage.find_kind(own)
    assert set(storage.list_kinds(TMP)) == {"keep-me", "0" * 32, f"{own[:-1]}x".rpartition("/")[2]}
    Library.settle(local.url)
    assert "keep-me" in storage.list_kinds(TMP) and "0" * 32 not in storage.list_kinds(TMP)


def test_a_copy_of_a_library_is_another_one(local, make_expert, tmp_path):
    """Guards against replaying in a copy what its original did not finish."""
    local["a"] = make_expert("a")
    with Publisher(open_storage(local.url)).writing() as change:
        change.stage({"file": b"x"})
        shutil.copytree(local.url, tmp_path / "copy")
    assert list(Library.open(tmp_path / "copy")) == ["a"]
    assert len(list((tmp_path / "copy" / TMP).iterdir())) == 1
    Library.settle(tmp_path / "copy")
    assert not list((tmp_path / "copy" / TMP).iterdir())
    os.rename(tmp_path / "copy", tmp_path / "moved")
    assert list(Library.open(tmp_path / "moved")) == ["a"]
