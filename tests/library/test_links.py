"""No path inside a library is followed through a link, and nothing but files is read as a file."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from lorary.errors import LibraryError, LoraryError
from lorary.library import Library
from lorary.library.storage.places import JOURNAL

LINKS = [
    ".lorary",
    ".lorary/tmp",
    ".lorary/trash",
    ".lorary/artifacts",
    ".lorary/artifacts/sum-1",
    ".lorary/write.lock",
    ".lorary/swap.lock",
    ".lorary/gate.lock",
    JOURNAL,
    "library.json",
    "a",
    "a/adapter_config.json",
    "a/adapter_model.safetensors",
    "a/expert.json",
]


def sums(experts):
    return {name: {"x": torch.ones(1)} for name in experts}


USES = {
    "open": lambda library, make: Library.open(library.url),
    "list": lambda library, make: list(library),
    "entries": lambda library, make: library.entries(),
    "read": lambda library, make: dict(library["a"].factors),
    "add": lambda library, make: library.add(make("new")),
    "replace": lambda library, make: library.update(a=make("a", 5)),
    "delete": lambda library, make: library.pop("a"),
    "rename": lambda library, make: library.rename("a", "c"),
    "copy": lambda library, make: library.copy("a", "d"),
    "derive": lambda library, make: library.artifacts("sum-1", {"k": 2}, sums),
    "prune": lambda library, make: library.prune(),
    "verify": lambda library, make: library.verify(),
    "settle": lambda library, make: Library.settle(library.url),
    "create": lambda library, make: Library.open(library.url, create=True),
}


@pytest.fixture
def full(local, make_expert):
    local["a"], local["b"] = make_expert("a", 1), make_expert("b", 2)
    local.artifacts("sum-1", {}, sums)
    (Path(local.url) / ".lorary" / "tmp").mkdir(exist_ok=True)
    (Path(local.url) / ".lorary" / "trash").mkdir(exist_ok=True)
    return local


def try_use(use, library, make_expert):
    """Use a library; return what it says against that, if anything. No other error may come."""
    try:
        USES[use](library, make_expert)
    except LoraryError as error:
        return str(error)
    return None


def describe(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def replace_by_link(path, outside, empty=False):
    """Put a link in a path's place, to what was there or to files that look alike."""
    outside.mkdir()
    target = outside / "target"
    if path.exists():
        shutil.move(path, target)
    else:
        target.write_text('{"moves": []}')
    if target.is_dir():
        for name in ("precious", "0" * 32, "x.safetensors"):
            (target / name).mkdir()
            (target / name / "file").write_text("mine")
    path.symlink_to(target)
    return outside


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("link", LINKS)
def test_whatever_is_a_link_nothing_outside_is_read_changed_or_removed(
    full, make_expert, tmp_path, link, use
):
    """Guards against libraries whose ``.lorary/tmp`` is a link that emptied its target when it was opened."""
    outside = replace_by_link(Path(full.url, link), tmp_path / "outside")
    before = describe(outside)
    message = try_use(use, full, make_expert)
    told = ("is a symbolic link", "has no expert 'a'", "'a' that is not an expert")
    assert message is None or (any(words in message for words in told) and len(message) < 1000), message
    assert describe(outside) == before


@pytest.mark.parametrize("link", LINKS)
def test_a_link_is_named_with_what_to_do(full, make_expert, tmp_path, link):
    replace_by_link(Path(full.url, link), tmp_path / "outside")
    told = [try_use(use, full, make_expert) for use in ("open", "read", "derive", "add")]
    messages = [message for message in told if message]
    assert any(
        "' is a symbolic link, and links inside a library are not followed: put the link's" in message
        for message in messages
    )


def test_an_experts_folder_that_is_a_link_is_left_out_of_listings_and_told_by_verify(full, tmp_path):
    replace_by_link(Path(full.url, "a"), tmp_path / "outside")
    assert list(full) == ["b"] and "a" not in full and [entry.name for entry in full.entries()] == ["b"]
    (problem,) = full.verify()
    assert str(problem).startswith("a: 'a' in library ") and "is a symbolic link" in str(problem)
    assert full.verify(["b"]) == [] and len(full.verify(["a"])) == 1
    with pytest.raises(LibraryError, match=r"'a' in library .* is a symbolic link"):
        full["a"]
    with pytest.raises(LibraryError, match="a file or folder 'a' that is not an expert"):
        full["a"] = full["b"]


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "expert.json", "notes"])
def test_a_link_within_an_experts_folder_is_told_by_verify_and_goes_with_it(full, tmp_path, file):
    """Such folders are what caches of downloads hold."""
    outside = replace_by_link(Path(full.url, "a", file), tmp_path / "outside")
    assert list(full) == ["a", "b"]
    assert any(problem.file == file and "symbolic link" in problem.message for problem in full.verify())
    with pytest.raises(LibraryError, match=f"'a/{file}' in .* is a "):
        full.copy("a", "c")
    del full["a"]
    assert list(full) == ["b"] and (outside / "target").exists() and full.verify() == []


@pytest.mark.parametrize(
    "path", ["library.json", JOURNAL, "a/expert.json", "a/adapter_config.json", "a/adapter_model.safetensors"]
)
@pytest.mark.parametrize("use", USES)
def test_a_named_pipe_is_never_waited_for(full, make_expert, path, use):
    Path(full.url, path).unlink(missing_ok=True)
    os.mkfifo(Path(full.url, path))
    message = try_use(use, full, make_expert)
    assert message is None or "named pipe" in message


@pytest.mark.parametrize("lock", ["write.lock", "swap.lock", "gate.lock"])
def test_a_lock_that_is_a_dangling_link_makes_no_file_elsewhere(full, make_expert, tmp_path, lock):
    Path(full.url, ".lorary", lock).unlink()
    Path(full.url, ".lorary", lock).symlink_to(tmp_path / "made")
    with pytest.raises(LibraryError, match=f"'.lorary/{lock}' in library .* is a symbolic link"):
        full.add(make_expert("new"))
    assert not (tmp_path / "made").exists()


def test_the_librarys_own_path_may_be_a_link(full, tmp_path, make_expert):
    (tmp_path / "here").symlink_to(full.url)
    library = Library.open(tmp_path / "here")
    library.add(make_expert("c"))
    assert list(library) == ["a", "b", "c"] and library.verify() == []


def test_an_expert_that_holds_folders_without_end_is_refused_and_the_others_stay(full):
    deep = Path(full.url, "a", *["d"] * 120)
    deep.mkdir(parents=True)
    with pytest.raises(LibraryError, match="folders are nested more than 100 levels deep"):
        full.copy("a", "c")
    del full["a"]
    assert list(full) == ["b"] and full.verify() == []
