"""The file operations that every kind of file system must do alike."""

import hashlib
import uuid

import pytest

from lorary.errors import LibraryError
from lorary.library.storage.local.pieces import PIECE_BYTES
from lorary.library.storage.opening import open_storage


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    place = tmp_path / "s" if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    storage = open_storage(place)
    storage.make_folder()
    return storage


def test_a_hash_is_that_of_all_bytes(storage):
    content = bytes(range(251)) * (PIECE_BYTES // 100)
    storage.write("big", content)
    assert storage.hash("big") == hashlib.sha256(content).hexdigest()


def test_a_part_of_a_file_can_be_read(storage):
    storage.write("file", b"0123456789")
    assert (storage.read("file", end=3), storage.read("file", start=8)) == (b"012", b"89")
    assert storage.read("file", start=2, end=4) == b"23"


def test_many_files_are_written_at_once(storage):
    storage.make_folder("inner")
    storage.write("one", b"old")
    storage.write_many({"one": b"1", "inner/two": b"22"})
    assert storage.read_many(["one", "inner/two"]) == {"one": b"1", "inner/two": b"22"}
    storage.write_many({})


def test_what_is_written_is_read_listed_and_counted(storage):
    storage.make_folder("folder/inner")
    storage.write("folder/inner/file", b"content")
    assert storage.read("folder/inner/file") == b"content"
    assert storage.count_bytes("folder/inner/file") == 7
    assert storage.list_kinds() == {"folder": "folder"}
    assert storage.list_kinds("folder/inner") == {"file": "file"}
    assert storage.walk("folder") == {"folder/inner/file": "file"} == storage.walk("folder/inner/file")
    assert storage.find_kind("folder") == "folder" and storage.find_kind("folder/inner/file") == "file"
    assert storage.find_existing(["folder/inner/file", "folder/other"]) == {"folder/inner/file"}


def test_reading_many_gives_bytes_or_what_went_wrong(storage):
    storage.write("a", b"1")
    found = storage.read_many(["a", "b"])
    assert found["a"] == b"1" and isinstance(found["b"], FileNotFoundError)
    assert storage.read_many([]) == {}


@pytest.fixture
def local_storage(tmp_path):
    storage = open_storage(tmp_path / "s")
    storage.make_folder()
    return storage


def test_moving_takes_a_file_or_a_whole_folder_along(local_storage):
    storage = local_storage
    storage.make_folder("a/inner")
    storage.write("a/inner/file", b"1")
    storage.write("a/file", b"2")
    storage.move("a", "b")
    assert list(storage.list_kinds()) == ["b"]
    assert storage.read("b/inner/file") == b"1"
    storage.move("b/file", "c")
    assert storage.read("c") == b"2" and list(storage.list_kinds("b")) == ["inner"]


def test_moving_a_file_onto_another_replaces_it(local_storage):
    storage = local_storage
    storage.write("a", b"new")
    storage.write("b", b"old")
    storage.move("a", "b")
    assert list(storage.list_kinds()) == ["b"] and storage.read("b") == b"new"


def test_removing_takes_only_what_is_named(storage):
    for path in ("a/inner", "ab", "c"):
        storage.make_folder(path)
        storage.write(f"{path}/file", b"1")
    storage.write("d", b"1")
    for path in ("a", "d", "missing"):
        storage.remove(path)
    assert list(storage.list_kinds()) == ["ab", "c"]


def test_what_is_not_there_is_empty_or_an_error(storage):
    assert storage.list_kinds("missing") == storage.walk("missing") == {} and not storage.find_kind("missing")
    with pytest.raises(FileNotFoundError):
        storage.read("missing")


def test_an_unknown_kind_of_place_is_refused():
    with pytest.raises(
        LibraryError, match="place must be a folder or a URL that fsspec knows, found 'nowhere://x'"
    ):
        open_storage("nowhere://x")


def test_a_kind_of_place_whose_package_is_missing_is_told(monkeypatch):
    def fail(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(LibraryError, match="needs a package that is not installed: Install s3fs"):
        open_storage("s3://bucket/lib")


@pytest.mark.parametrize("error", [PermissionError("no"), TimeoutError("later"), OSError(5, "I/O error")])
def test_only_what_is_said_to_be_absent_is_absent(error, monkeypatch):
    """Guards against fsspec's ``exists``, to which every failure means that nothing is there."""
    storage = open_storage(f"memory://{uuid.uuid4().hex}")
    storage.make_folder()
    assert storage.find_kind("x") is None

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(type(storage.fs), "info", fail)
    with pytest.raises(type(error)):
        storage.find_kind("x")
    monkeypatch.setattr(type(storage.fs), "cat_ranges", lambda *arguments, **options: [error])
    with pytest.raises(type(error)):
        storage.find_existing(["x"])


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a//b", "/etc", "."])
def test_a_path_that_leads_out_of_a_local_folder_is_refused(tmp_path, path):
    (tmp_path / "s" / "a").mkdir(parents=True)
    storage = open_storage(tmp_path / "s")
    for use in (storage.find_kind, storage.read, storage.remove, storage.make_folder, storage.walk):
        with pytest.raises(ValueError, match="a path inside a library must not have a part"):
            use(path)


def test_a_small_file_that_is_large_is_refused_and_not_read(storage, monkeypatch):
    monkeypatch.setenv("LORARY_MAX_JSON_MB", "0.0001")
    storage.write("large", b"x" * 101)
    storage.write("small", b"x" * 100)
    found = storage.read_many(["large", "small"])
    assert found["small"] == b"x" * 100
    assert "'" in str(found["large"]) and "is too large: at most 0.0001 megabytes" in str(found["large"])
