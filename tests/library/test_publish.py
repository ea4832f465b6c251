"""A change happens entirely or not at all, whatever goes wrong at whatever step."""

import json
import shutil

import pytest
import torch

from lorary.errors import LibraryError
from lorary.experts import write_expert_files, write_peft
from lorary.library import Library
from lorary.library.publish import JOURNAL, TMP, TRASH, Publisher
from lorary.library.storage import Storage

ALL_OR_NOTHING = ("add", "replace", "delete", "rename", "copy")


@pytest.fixture(scope="module")
def hashes(make_expert):
    """The hashes of the weights of 'a', 'b' and the incoming expert."""
    experts = [make_expert("any", seed) for seed in (1, 2, 3)]
    return [json.loads(write_expert_files(expert)["expert.json"])["weights_sha256"] for expert in experts]


@pytest.fixture(scope="module")
def before(hashes):
    return {"a": hashes[0], "b": hashes[1]}


@pytest.fixture(scope="module")
def after(hashes):
    a, b, incoming = hashes
    return {
        "add": {"a": a, "b": b, "new": incoming},
        "replace": {"a": incoming, "b": b},
        "delete": {"b": b},
        "rename": {"new": a, "b": b},
        "copy": {"a": a, "b": b, "new": a},
    }


@pytest.fixture(scope="module")
def faults(tmp_path_factory, make_expert, run_script):
    """The folder that faults.py fills: <kind>/<change>/<step>, each a library to which something happened."""
    place = tmp_path_factory.mktemp("faults")
    template = Library.open(place / "template", create=True)
    template["a"], template["b"] = make_expert("a", 1), make_expert("b", 2)
    write_peft(make_expert("incoming", 3), place / "incoming")
    run_script("faults.py", template.url, place / "incoming", place)
    return place


def list_steps(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


def read_sound(root):
    """Open a library after a fault, check that all is well and nothing left over, and describe it."""
    library = Library.open(root)
    assert library.verify() == []
    for place in (TMP, TRASH):
        assert not any((root / place).glob("*")), f"left over in {place}"
    assert not (root / JOURNAL).exists()
    return {entry.name: entry.weights_sha256 for entry in library.entries()}


@pytest.mark.parametrize("change", ALL_OR_NOTHING)
@pytest.mark.parametrize("kind", ["kill", "interrupt"])
def test_a_change_that_is_killed_or_interrupted_happened_entirely_or_not_at_all(
    faults, before, after, kind, change
):
    found = [read_sound(root) for root in list_steps(faults / kind / change)]
    assert len(found) > 3
    assert found[0] == before and found[-1] == after[change]
    # Once a change is written down it happens: no later step goes back.
    turn = found.index(after[change])
    assert found == [before] * turn + [after[change]] * (len(found) - turn)


@pytest.mark.parametrize("change", ALL_OR_NOTHING)
def test_a_change_on_a_full_disk_leaves_the_library_as_it_was_and_says_so(faults, before, after, change):
    refused = 0
    for root in list_steps(faults / "full" / change):
        message = root.with_name(f"{root.name}.message")
        assert read_sound(root) == (before if message.exists() else after[change])
        if message.exists():
            refused += 1
            assert f"in library {str(root)!r}: no space left in {str(root)!r}: " in message.read_text()
            assert "are free; free some space and try again. The library is as it was" in message.read_text()
    assert refused > 0


@pytest.mark.parametrize("change", ALL_OR_NOTHING)
def test_a_change_on_a_disk_that_breaks_loses_nothing_once_the_disk_works_again(
    faults, before, after, change
):
    """Guards against dropping the journal when undoing the moves fails as well."""
    roots = list_steps(faults / "break" / change)
    assert len(roots) > 3
    for root in roots:
        assert read_sound(root) in (before, after[change])


def test_a_full_disk_is_told_with_the_expert_and_the_bytes_it_needs(faults, make_expert):
    message = next((faults / "full" / "add").glob("*.message")).read_text()
    needed = sum(map(len, write_expert_files(make_expert("new", 3)).values()))
    assert message.startswith("cannot store expert 'new' in library ")
    assert f"{needed:,} bytes are needed" in message


@pytest.mark.parametrize("change", ["replace", "rename"])
def test_whoever_finishes_a_dead_writers_change_may_be_killed_too(faults, after, change):
    roots = list_steps(faults / "kill-repair" / change)
    assert len(roots) > 10
    for root in roots:
        assert read_sound(root) == after[change]


@pytest.mark.parametrize("kind", ["kill", "full", "interrupt"])
def test_artifacts_that_a_fault_interrupted_are_stored_entirely_or_computed_again(faults, before, kind):
    def sum_factors(experts):
        return {
            name: {path: torch.stack([a.sum(), b.sum()]) for path, (a, b) in expert.factors.items()}
            for name, expert in experts.items()
        }

    for root in list_steps(faults / kind / "derive"):
        assert read_sound(root) == before
        library = Library.open(root)
        expected = sum_factors(library)
        found = library.artifacts("sum-1", {}, sum_factors)
        for name in before:
            assert all(torch.equal(found[name][path], expected[name][path]) for path in expected[name])


@pytest.mark.parametrize("kind", ["kill", "full", "interrupt"])
def test_a_library_whose_making_was_interrupted_can_be_made_again(faults, kind):
    for root in list_steps(faults / kind / "create"):
        assert list(Library.open(root / "inner", create=True)) == []


def test_a_reader_finishes_what_a_dead_writer_began_without_reopening(faults, tmp_path, after):
    crashed = [root for root in list_steps(faults / "kill" / "replace") if (root / JOURNAL).exists()]
    template = faults / "template"
    for root in crashed:
        shutil.copytree(template, tmp_path / root.name)
        library = Library.open(tmp_path / root.name)
        shutil.rmtree(tmp_path / root.name)
        shutil.copytree(root, tmp_path / root.name)
        assert "a" in library
        assert {entry.name: entry.weights_sha256 for entry in library.entries()} == after["replace"]


def test_what_a_dead_writer_left_is_not_an_expert(local, make_expert):
    local.add(make_expert("a"))
    shutil.copytree(f"{local.url}/a", f"{local.url}/{TMP}/b")
    assert list(local) == ["a"]


def test_opening_leaves_the_files_of_a_writer_at_work_alone(local, make_expert):
    storage = Storage(local.url)
    publisher = Publisher(storage)
    with publisher.writing():
        staged = publisher.stage({"file": b"content"})
        Library.open(local.url)
        assert storage.read(f"{staged}/file") == b"content"
    assert not storage.exists(staged)


def test_moves_that_cannot_all_be_made_are_undone(local):
    storage = Storage(local.url)
    publisher = Publisher(storage)
    with publisher.writing():
        staged = publisher.stage({"file": b"content"})
        with pytest.raises(FileNotFoundError):
            publisher.publish([(staged, "x"), ("missing", "y")])
        assert storage.find_kind(f"{staged}/file") and not storage.find_kind("x")
        assert not storage.find_kind(JOURNAL)


def test_an_unreadable_journal_is_an_error_that_keeps_what_may_be_the_only_copy(local, make_expert):
    local.add(make_expert("a"))
    storage = Storage(local.url)
    storage.make_folder(TRASH)
    storage.move("a", f"{TRASH}/only-copy")
    storage.write(JOURNAL, b"{")
    with pytest.raises(LibraryError, match=r"unreadable .*journal.json.*may be the only copy; move it back"):
        list(Library.open(local.url))
    assert storage.find_kind(f"{TRASH}/only-copy/adapter_config.json")
