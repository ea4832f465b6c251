"""What every storage must do alike: be read, and changed by commits that happen entirely or not at all."""

import threading
import uuid

import pytest

from lorary.errors import LibraryError
from lorary.library import Library
from lorary.library.storage.contract import RevisionMoved, Stored
from lorary.library.storage.opening import STORAGES, open_storage
from tests.library.toy_hub import ToyHub

PLACES = {
    "local": lambda tmp_path: str(tmp_path / "s"),
    "memory": lambda tmp_path: f"memory://{uuid.uuid4().hex}",
    "toyhub": lambda tmp_path: f"toyhub://{uuid.uuid4().hex}",
}


@pytest.fixture(params=PLACES)
def place(request, tmp_path, monkeypatch):
    monkeypatch.setitem(STORAGES, "toyhub", ToyHub)
    return PLACES[request.param](tmp_path)


@pytest.fixture
def storage(place):
    storage = open_storage(place)
    storage.make_root()
    return storage


def commit(storage, puts, deletes=()):
    with storage.changing() as change:
        return change.commit(puts, deletes)


def read_all(storage):
    return {
        path: storage.read(path)
        for name, kind in storage.list_kinds().items()
        if not name.startswith(".")
        for path in ([name] if kind == "file" else storage.walk(name))
    }


def test_a_folder_that_is_made_is_there_and_empty(place):
    storage = open_storage(place)
    assert storage.find_kind() is None
    storage.make_root()
    storage.make_root()
    assert storage.find_kind() == "folder" and read_all(storage) == {}


def test_commits_do_what_they_do_to_a_dict(storage, tmp_path):
    """The reference: the same commits made to a plain dict of files."""
    (tmp_path / "weights").write_bytes(b"from a file")
    expected = {}
    for puts, deletes in [
        ({"a/x": b"1", "a/in/y": b"2", "library.json": b"{}"}, ()),
        ({"b/x": tmp_path / "weights"}, ()),
        ({"a/x": b"3"}, ()),
        ({"c": Stored("a"), "c/x": b"4", "c/new": b"5"}, ()),
        ({"d": Stored("c")}, ["c"]),
        ({"e": Stored("d"), "e/expert.json": b"e"}, ["d"]),
        ({"f": Stored("e"), "f/expert.json": b"f"}, ["e"]),
        ({"a/x": b"new"}, ["a"]),
        ({"a/copied": Stored("f/in/y")}, ["f/in/y", "f/missing", "missing", "g/missing"]),
        ({"a": Stored("b"), "b": Stored("a")}, ["a", "b"]),
        ({"h/x": b"6", "i/x": b"7"}, ["f"]),
        ({".lorary/artifacts/s/k": b"8", "library.json": b"[]"}, ()),
        ({}, [".lorary/artifacts/s/k", "a", "h"]),
        ({}, ()),
    ]:
        assert isinstance(commit(storage, puts, deletes), str)
        expected = commit_to_dict(expected, puts, deletes)
        visible = {path: content for path, content in expected.items() if not path.startswith(".")}
        assert read_all(storage) == visible
        assert storage.find_existing(expected) == set(expected)
    assert list(storage.walk(".lorary/artifacts")) == []


def commit_to_dict(before, puts, deletes):
    def is_in(path, folder):
        return path == folder or path.startswith(f"{folder}/")

    after = {path: old for path, old in before.items() if not any(is_in(path, gone) for gone in deletes)}
    for path, source in puts.items():
        if isinstance(source, Stored):
            after |= {
                path + file[len(source.path) :]: old
                for file, old in before.items()
                if is_in(file, source.path)
            }
        else:
            after[path] = source if isinstance(source, bytes) else source.read_bytes()
    return after


def test_a_commit_that_fails_changes_nothing(storage, tmp_path):
    commit(storage, {"a/x": b"1", "b/x": b"2"})
    before = read_all(storage)
    for puts, deletes in [
        ({"a/x": b"3", "c/x": tmp_path / "missing"}, ["b"]),
        ({"c/x": b"3", "d/x": Stored("b/missing/x")}, ["a", "b"]),
    ]:
        with pytest.raises(FileNotFoundError), storage.changing() as change:
            change.commit(puts, deletes)
        assert change.outcome.name == "UNCHANGED"
        assert read_all(storage) == before
        assert not [name for place in ("tmp", "trash") for name in storage.list_kinds(f".lorary/{place}")]


def test_a_reader_sees_one_revision(storage):
    commit(storage, {"a/x": b"1", "b/x": b"1"})
    writer = threading.Thread(target=commit, args=(open_storage(storage.url), {"a/x": b"2", "b/x": b"2"}))
    with storage.reading():
        assert storage.read("a/x") == b"1"
        writer.start()
        writer.join(0.2)
        assert storage.read("b/x") == b"1"
    writer.join()
    assert read_all(storage) == {"a/x": b"2", "b/x": b"2"}


def test_what_is_planned_on_one_revision_is_committed_to_no_other(storage):
    """A storage with a lock lets nobody else in; one without refuses."""
    other = open_storage(storage.url, timeout=0.05)
    failures = []

    def commit_meanwhile():
        try:
            commit(other, {"b/x": b"2"})
        except LibraryError as error:
            failures.append(str(error))

    meanwhile = threading.Thread(target=commit_meanwhile)
    try:
        with storage.changing() as change:
            meanwhile.start()
            meanwhile.join()
            change.commit({"a/x": b"1"})
    except RevisionMoved:
        assert read_all(storage) == {"b/x": b"2"} and not failures
    else:
        assert read_all(storage) == {"a/x": b"1"} and "is busy" in failures[0]


def test_a_library_plans_again_if_somebody_else_was_faster(monkeypatch, make_expert):
    monkeypatch.setitem(STORAGES, "toyhub", ToyHub)
    url = f"toyhub://{uuid.uuid4().hex}"
    library, other = Library.open(url, create=True), Library.open(url)
    storage = library._storage
    monkeypatch.setattr(
        storage,
        "write_many",
        lambda files: other.add(make_expert(f"e{len(other)}")) if len(other) < 2 else None,
    )
    library.add(make_expert("e2"))
    assert sorted(other) == ["e0", "e1", "e2"]
    monkeypatch.setattr(storage, "write_many", lambda files: other.__setitem__("e0", make_expert("e0")))
    with pytest.raises(
        LibraryError, match=r"processes changed it 20 times .*; try again\. The library is un"
    ):
        library.add(make_expert("e3"))
    assert "e3" not in library


def test_a_name_that_was_taken_meanwhile_is_refused_when_it_is_planned_again(monkeypatch, make_expert):
    monkeypatch.setitem(STORAGES, "toyhub", ToyHub)
    url = f"toyhub://{uuid.uuid4().hex}"
    library, other = Library.open(url, create=True), Library.open(url)
    monkeypatch.setattr(
        library._storage, "write_many", lambda files: other.__setitem__("a", make_expert("a", 2))
    )
    with pytest.raises(LibraryError, match="already has an expert 'a'"):
        library.add(make_expert("a", 1))


def test_of_a_local_expert_that_is_renamed_nothing_is_copied(tmp_path):
    storage = open_storage(tmp_path / "s")
    storage.make_root()
    commit(storage, {"old/weights": b"1" * 999, "old/expert.json": b"old"})
    inode = (tmp_path / "s/old/weights").stat().st_ino
    commit(storage, {"new": Stored("old"), "new/expert.json": b"new"}, ["old"])
    assert read_all(storage) == {"new/weights": b"1" * 999, "new/expert.json": b"new"}
    assert (tmp_path / "s/new/weights").stat().st_ino == inode
