"""Which folders are experts, and listing many of them from their small files alone."""

import uuid
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from lorary.errors import FormatError
from lorary.experts import write_expert_files
from lorary.library import Library


def test_entries_are_sorted_and_filtered(library, make_expert):
    library["c"] = make_expert("c", tasks=("rhyme",), tags=("fun",))
    library["a"] = make_expert("a", tasks=("rhyme", "sums"), base="phi-2")
    library["b"] = make_expert("b", tags=("fun",))

    def names(**wanted):
        return [entry.name for entry in library.entries(**wanted)]

    assert names() == ["a", "b", "c"]
    assert names(task="rhyme") == ["a", "c"]
    assert names(base="phi-2") == ["a"]
    assert names(tag="fun") == ["b", "c"]
    assert names(task="rhyme", tag="fun") == ["c"]
    assert names(task="unknown") == []


def test_a_thousand_experts_are_listed_without_opening_a_weights_file(local, make_expert):
    """There are no weights files at all, so that opening one would fail."""
    files = write_expert_files(make_expert("any", tasks=("rhyme",)))
    for number in range(1000):
        folder = Path(local.url, f"expert-{number:04}")
        folder.mkdir()
        for file in ("expert.json", "adapter_config.json"):
            (folder / file).write_bytes(files[file])
    assert len(local) == 1000 and "expert-0999" in local
    assert len(local.entries(task="rhyme")) == 1000


def test_listing_reads_all_small_files_in_one_request(make_expert, monkeypatch):
    """A remote library of a thousand experts must not be a thousand round trips one after the other."""
    library = Library.open(f"memory://{uuid.uuid4().hex}", create=True)
    for name in "abc":
        library[name] = make_expert(name)
    requests = []
    read = MemoryFileSystem.cat_ranges

    def count(fs, paths, *arguments, **options):
        requests.append(sorted(path.rpartition("/")[2] for path in paths))
        return read(fs, paths, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", count)
    library.entries()
    assert requests == [["expert.json"] * 3]
    assert len(library) == 3
    assert requests[1:] == [["adapter_config.json"] * 3 + ["expert.json"] * 3]


def test_other_files_and_folders_are_not_experts(library, make_expert):
    library["a"] = make_expert("a")
    for path in ("docs", "_private", ".hidden", "weights-only"):
        library._storage.make_folder(path)
    library._storage.write("docs/notes.txt", b"x")
    library._storage.write("weights-only/adapter_model.safetensors", b"x")
    library._storage.write("_private/adapter_config.json", b"{}")
    library._storage.write("README.md", b"x")
    assert list(library) == ["a"]
    assert [entry.name for entry in library.entries()] == ["a"]


def test_an_expert_that_lost_a_file_is_still_listed(library, make_expert):
    library["a"] = make_expert("a")
    library._storage.remove("a/adapter_config.json")
    assert list(library) == ["a"] and library.entries()[0].num_modules == 2
    with pytest.raises(FormatError, match=r"missing: adapter_config.json"):
        library["a"]


def test_a_damaged_small_file_is_told_with_its_path_and_can_be_deleted(library, make_expert):
    library["a"], library["b"] = make_expert("a"), make_expert("b")
    library._storage.write("a/expert.json", b"{")
    with pytest.raises(FormatError, match=r"/a/expert.json' must be a JSON file"):
        library.entries()
    del library["a"]
    assert [entry.name for entry in library.entries()] == ["b"]


def test_a_small_file_that_cannot_be_read_is_an_error_and_not_a_missing_expert(local, make_expert):
    local["a"] = make_expert("a")
    Path(local.url, "a", "expert.json").unlink()
    Path(local.url, "a", "expert.json").mkdir()
    with pytest.raises(FormatError, match=r"a/expert.json' must be a regular file, found a folder"):
        local.entries()
