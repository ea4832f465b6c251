"""What makes a folder a library, and what is said of everything else."""

import json

import pytest

from lorary.errors import LibraryError
from lorary.experts import write_peft
from lorary.library import Library


def test_making_a_library_where_there_is_one_keeps_it(url, make_expert):
    Library.open(url, create=True)["a"] = make_expert("a")
    assert list(Library.open(url, create=True)) == ["a"]


def test_an_empty_folder_becomes_a_library(tmp_path):
    assert list(Library.open(tmp_path, create=True)) == []
    assert json.loads((tmp_path / "library.json").read_text()) == {"lorary": 1, "kind": "library"}


def test_a_folder_of_adapters_becomes_a_library_as_it_is(tmp_path, make_expert):
    write_peft(make_expert("a"), tmp_path / "a")
    (tmp_path / "README.md").write_text("my adapters")
    told = (
        r"it has adapters such as 'a'; Library.open\(.*create=True\), .* or `lorary library add` makes it a"
    )
    with pytest.raises(LibraryError, match=told):
        Library.open(tmp_path)
    assert list(Library.open(tmp_path, create=True)) == ["a"]


def test_a_missing_library_is_told_with_how_to_make_it(url):
    with pytest.raises(LibraryError) as caught:
        Library.open(url)
    told = (
        f"there is no library at {url!r}: Library.open({url!r}, create=True), `lorary train` or "
        "`lorary library add` makes one"
    )
    assert str(caught.value) == told


def test_a_single_adapter_is_not_a_library(tmp_path, make_expert):
    write_peft(make_expert("a"), tmp_path / "a")
    for create in (False, True):
        with pytest.raises(LibraryError, match=r"is a single adapter; read it with lorary.read_peft"):
            Library.open(tmp_path / "a", create=create)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for create in (False, True):
        with pytest.raises(LibraryError, match=r"it has other files, such as 'thesis.tex'; name an empty"):
            Library.open(tmp_path, create=create)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_told_with_how_to_make_it_a_library(tmp_path):
    with pytest.raises(LibraryError, match=r"has no library.json\): it is empty; .*create=True"):
        Library.open(tmp_path)


def test_a_file_is_not_a_library(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LibraryError, match=r"a library must be a folder, .* is a file: name a folder"):
        Library.open(tmp_path / "file")
    with pytest.raises(LibraryError, match=r"cannot make a library at .*: it is a file"):
        Library.open(tmp_path / "file", create=True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "has a damaged library.json"),
        ("[]", "has a damaged library.json"),
        (
            '{"lorary": 2, "kind": "library"}',
            "has format 2, this version of lorary reads up to 1: upgrade lorary",
        ),
        ('{"lorary": 1, "kind": "run"}', "is not a library: its library.json has"),
    ],
)
def test_a_library_of_another_format_is_refused(local, content, told):
    local._storage.write("library.json", content.encode())
    with pytest.raises(LibraryError, match=told):
        Library.open(local.url)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LibraryError, match=r"cannot make a library at .*Not a directory"):
        Library.open(tmp_path / "file" / "lib", create=True)
