import json
from dataclasses import replace

import pytest
import torch

from lorary.errors import FormatError, LibraryError, UnknownExpert
from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.skills import SkillSet, TaskTable
from lorary.facts import gates, moe
from lorary.library import Library, skill_sets
from lorary.library.artifacts import TRAINED
from lorary.library.lock import LockedRouter, lock_library, read_lock, sync_library, write_lock
from lorary.library.skills import load_skills, store_skills

RECIPE = {"merge_method": "linear", "models": [{"model": "a"}, {"model": "b"}]}


def make_expert(name, seed):
    generator = torch.Generator().manual_seed(seed)
    factors = Factors(torch.randn(2, 6, generator=generator), torch.randn(4, 2, generator=generator))
    card = ExpertCard(base_fingerprint="4be1" * 6, provenance={"recipe": RECIPE} if name == "both" else {})
    return Expert(name, "org/base", {"layers.0.proj": factors}, card)


@pytest.fixture
def library(tmp_path):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for seed, name in enumerate(("a", "b", "both")):
        library.add(make_expert(name, seed))
    return library


def list_files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".lorary" not in path.parts
    }


def test_a_library_is_rebuilt_bit_for_bit_from_its_lock_and_another_copy(library, tmp_path):
    lock = lock_library(library.url, router=LockedRouter(name="arrow", options={"top_k": 2}))
    write_lock(lock, tmp_path / "lorary.lock")
    read = read_lock(tmp_path / "lorary.lock")
    assert read == lock and read.router.options == {"top_k": 2}
    assert read.bases == {"org/base": {"revision": None, "fingerprint": "4be1" * 6}}
    assert read.recipes == {"both": RECIPE} and {"lorary", "torch", "transformers"} == read.versions.keys()
    synced = sync_library(read, str(tmp_path / "same"), [library.url])
    assert (synced.copied, synced.unchanged, synced.differences) == (("a", "b", "both"), (), ())
    assert list_files(tmp_path / "same") == list_files(tmp_path / "lib")
    again = sync_library(read, str(tmp_path / "same"), [])
    assert (again.copied, again.unchanged, again.differences) == ((), ("a", "b", "both"), ())
    write_lock(lock_library(str(tmp_path / "same"), router=lock.router), tmp_path / "second.lock")
    assert (tmp_path / "second.lock").read_bytes() == (tmp_path / "lorary.lock").read_bytes()


def test_a_remote_library_is_a_source(library, tmp_path):
    remote = Library.open("memory://lock-source", create=True)
    remote.add_all(dict(library.items()), replace=True)
    lock = lock_library("memory://lock-source")
    assert sync_library(lock, str(tmp_path / "same"), ["memory://lock-source"]).differences == ()


def test_what_differs_is_told(library, tmp_path):
    lock = lock_library(library.url)
    Library.open(str(tmp_path / "empty"), create=True)
    library["a"] = make_expert("a", 7)
    del library["b"]
    library.add(make_expert("more", 8))
    synced = sync_library(lock, library.url, [str(tmp_path / "empty")])
    assert [difference.what for difference in synced.differences] == ["expert a", "expert b", "expert more"]
    changed, missing, more = synced.differences
    assert changed.found.startswith("other adapter_model.safetensors, expert.json")
    assert changed.found.endswith("; --replace takes the locked one from --sources")
    assert missing.found == "in no source" and missing.locked.startswith("sha256 ")
    assert (more.locked, more.found) == ("none", "in the library")
    assert synced.unchanged == ("both",)


def test_a_changed_expert_is_replaced_only_if_asked(library, tmp_path):
    copy = Library.open(str(tmp_path / "copy"), create=True)
    lock = lock_library(library.url)
    sync_library(lock, copy.url, [library.url])
    copy["a"] = make_expert("a", 7)
    assert sync_library(lock, copy.url, [library.url]).differences
    assert sync_library(lock, copy.url, [library.url], replace=True).copied == ("a",)
    assert list_files(tmp_path / "copy") == list_files(tmp_path / "lib")


def test_tuned_options_are_locked_and_stored(library, tmp_path):
    library.tune("calibrated", {"margin": 0.25})
    lock = lock_library(library.url)
    write_lock(lock, tmp_path / "x.lock")
    assert read_lock(tmp_path / "x.lock") == lock and lock.tuned == {"calibrated": {"margin": 0.25}}
    same = str(tmp_path / "same")
    assert sync_library(lock, same, [library.url]).differences == ()
    assert Library.open(same).tuned("calibrated") == {"margin": 0.25}
    Library.open(same).tune("calibrated", {"margin": 1})
    (difference,) = sync_library(lock, same, [library.url]).differences
    assert difference == ("tuned options of router calibrated", "margin 0.25", "margin 1")
    assert sync_library(lock, same, [], replace=True).differences == ()
    assert Library.open(same).tuned("calibrated") == {"margin": 0.25}


def test_a_source_with_other_files_of_that_name_is_not_taken(library, tmp_path):
    lock = lock_library(library.url, ["a"])
    other = Library.open(str(tmp_path / "other"), create=True)
    other.add(make_expert("a", 9))
    (difference,) = sync_library(lock, str(tmp_path / "new"), [other.url]).differences
    assert difference.found.endswith(" in the sources") and "a" not in Library.open(str(tmp_path / "new"))
    assert sync_library(lock, str(tmp_path / "new"), [other.url, library.url]).copied == ("a",)


def test_other_versions_are_told_apart_from_differences(library, tmp_path):
    lock = replace(lock_library(library.url), versions={"torch": "0.1", "no-such-package": "1"})
    synced = sync_library(lock, library.url, [])
    assert synced.differences == ()
    assert [(each.what, each.locked) for each in synced.versions] == [
        ("no-such-package", "1"),
        ("torch", "0.1"),
    ]


def test_unknown_experts_and_places_are_refused(library, tmp_path):
    with pytest.raises(UnknownExpert):
        lock_library(library.url, ["c"])
    with pytest.raises(LibraryError, match="there is no library at"):
        sync_library(lock_library(library.url), str(tmp_path / "new"), [str(tmp_path / "none")])
    assert not (tmp_path / "new").exists()


def test_what_was_trained_for_experts_together_is_copied_with_them(library, tmp_path):
    """Synchronised skills had no table, and the library was called the same bit for bit."""
    skills = [replace(make_expert(f"s{seed}", seed), card=ExpertCard()) for seed in range(2)]
    table = TaskTable(tasks=("sql",), logits={"layers.0.proj": torch.tensor([[1.0, 2.0]])}, num_skills=2)
    store_skills(library, SkillSet(skills, table))
    write_lock(lock_library(library.url), tmp_path / "x.lock")
    lock = read_lock(tmp_path / "x.lock")
    (file,) = lock.trained
    assert file.startswith("task-table-1/")
    assert sync_library(lock, str(tmp_path / "same"), [library.url]).differences == ()
    same = load_skills(Library.open(str(tmp_path / "same")))
    assert same.table.logits["layers.0.proj"].equal(table.logits["layers.0.proj"])
    path = tmp_path / "same" / ".lorary" / "artifacts" / file
    path.write_bytes(b"damaged")
    (difference,) = sync_library(lock, str(tmp_path / "same"), [library.url]).differences
    assert difference.found == "another one; --replace takes the locked one from --sources"
    assert not sync_library(lock, str(tmp_path / "same"), [library.url], replace=True).differences
    path.unlink()
    (difference,) = sync_library(lock, str(tmp_path / "same"), []).differences
    assert (difference.what, difference.found) == ("task-table-1 of experts", "in no source")
    assert lock_library(library.url, ["a", "s0"]).trained == {}, "the table is of both skills"


def test_artifacts_of_trainings_are_those_that_are_locked():
    assert set(TRAINED) == {gates.ALGORITHM, moe.ALGORITHM, skill_sets.ALGORITHM}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lorary_lock": 2}, "must be a lock file of format 1, found 2"),
        ({"experts": {}}, "is not what was written, its SHA-256 differs"),
    ],
)
def test_a_damaged_file_is_refused(library, tmp_path, change, message):
    write_lock(lock_library(library.url), tmp_path / "x.lock")
    content = json.loads((tmp_path / "x.lock").read_text())
    (tmp_path / "x.lock").write_text(json.dumps({**content, **change}))
    with pytest.raises(FormatError, match=message):
        read_lock(tmp_path / "x.lock")


@pytest.mark.parametrize(
    "change",
    [
        {"experts": {"../a": {"expert.json": "0" * 64}}},
        {"experts": {"a": {"../../x": "0" * 64}}},
        {"experts": {"a": {"expert.json": "x"}}},
        {"experts": {"a": {}}},
        {"experts": []},
        {"tuned": {"arrow": 3}},
        {"bases": {"b": {"revision": 3, "fingerprint": None}}},
        {"trained": {"../../x": "0" * 64}},
        {"trained": {f"arrow-prototypes-1/{'0' * 64}.safetensors": "0" * 64}},
        {"trained": {f"task-table-1/{'0' * 64}.safetensors": "x"}},
        {"trained": []},
    ],
)
def test_values_that_no_library_has_are_refused(library, tmp_path, change):
    write_lock(replace(lock_library(library.url), **change), tmp_path / "x.lock")
    with pytest.raises(FormatError, match=r"must not have .*write it again with `lorary lock`"):
        read_lock(tmp_path / "x.lock")
