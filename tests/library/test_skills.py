from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorary.errors import LibraryError
from lorary.experts.skills import SkillSet, TaskTable
from lorary.library import Library
from lorary.library.skill_sets import ALGORITHM
from lorary.library.skills import load_skills, store_skills
from lorary.library.storage.local.change import LocalChange


@pytest.fixture
def make_skill_set(make_expert):
    def make(name="skills", seed=0, granularity="model", shared=True):
        skills = [make_expert(f"{name}-{n}", seed=10 * seed + n, provenance={"steps": 3}) for n in range(3)]
        groups = ["model"] if granularity == "model" else list(skills[0].factors)
        torch.manual_seed(seed)
        table = TaskTable(
            tasks=("sql", "poésie"),
            logits={group: torch.randn(2, 4 * (3 - shared)) for group in groups},
            num_skills=3 - shared,
            num_splits=4,
            granularity=granularity,
            has_shared=shared,
        )
        return SkillSet(skills, table)

    return make


def assert_same(one, other):
    for task in (*one.table.tasks, None):
        mine, its = one.task_expert(task), other.task_expert(task)
        for path, pair in mine.factors.items():
            assert all(torch.equal(a, b) for a, b in zip(pair, its.factors[path], strict=True))
    for field in ("tasks", "num_skills", "num_splits", "granularity", "has_shared"):
        assert getattr(one.table, field) == getattr(other.table, field)


@pytest.mark.parametrize(("granularity", "shared"), [("model", True), ("linear", False)])
def test_stored_skills_are_loaded_as_they_were(library, make_skill_set, granularity, shared):
    skill_set = make_skill_set(granularity=granularity, shared=shared)
    store_skills(library, skill_set)
    assert list(library) == ["skills-0", "skills-1", "skills-2"]
    assert_same(load_skills(Library.open(library.url)), skill_set)


def test_skills_are_ordinary_experts_that_are_renamed_copied_and_verified(local, make_skill_set):
    skill_set = make_skill_set()
    store_skills(local, skill_set)
    assert local["skills-1"].card.provenance["steps"] == 3
    local.rename("skills-0", "zebra")
    local.copy("skills-1", "another")
    assert local.verify() == []
    local.prune()
    assert_same(load_skills(local), skill_set)


def test_a_library_with_several_sets_needs_a_name(local, make_skill_set):
    sets = {name: make_skill_set(name, seed) for seed, name in enumerate(("one", "two"))}
    for skill_set in sets.values():
        store_skills(local, skill_set)
    for name, skill_set in sets.items():
        assert_same(load_skills(local, f"{name}-2"), skill_set)
    with pytest.raises(LibraryError, match=r"one set of skills, found 2: name one of \['one-0', 'two-0'\]"):
        load_skills(local)
    with pytest.raises(LibraryError, match="a skill 'three', found 0"):
        load_skills(local, "three")


def test_a_library_without_skills_is_refused(local, make_expert):
    local.add(make_expert())
    with pytest.raises(LibraryError, match="one set of skills, found 0"):
        load_skills(local)


def test_names_that_are_taken_are_refused_before_anything_is_stored(local, make_skill_set, make_expert):
    local.add(make_expert("skills-2"))
    with pytest.raises(
        LibraryError, match=r"must not have experts of the skills' names, found \['skills-2'\]"
    ):
        store_skills(local, make_skill_set())
    assert list(local) == ["skills-2"]


def test_a_skill_that_is_missing_or_was_replaced_is_refused(local, make_skill_set, make_expert):
    """Guards against a table that is used with other skills than its own."""
    store_skills(local, make_skill_set())
    card = local["skills-1"].card
    local["skills-1"] = replace(make_expert("skills-1", seed=77), card=card)
    with pytest.raises(LibraryError, match=r"the table of skills .* must be in the library, found none"):
        load_skills(local)
    del local["skills-1"]
    with pytest.raises(LibraryError, match=r"must have 3 skills, found places \[0, 2\]"):
        load_skills(local)


def test_a_table_that_is_gone_or_damaged_is_a_problem(local, make_skill_set):
    """`verify` found nothing, and said of a damaged table that it would be computed again."""
    store_skills(local, make_skill_set())
    assert local.verify() == []
    (path,) = (Path(local.url) / ".lorary" / "artifacts" / ALGORITHM).iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    (problem,) = local.verify()
    assert problem.message.endswith(": restore it, or train again: it cannot be computed from the experts")
    path.unlink()
    (problem,) = local.verify()
    assert problem.file == f".lorary/artifacts/{ALGORITHM}/{path.name}"
    assert "the table of skills [" in problem.message and "is missing: restore it" in problem.message


def test_a_set_that_is_stored_already_is_not_stored_again(library, make_skill_set):
    for _ in range(2):
        store_skills(library, make_skill_set())
    assert_same(load_skills(library), make_skill_set())


def test_a_set_is_replaced_only_if_asked(library, make_skill_set):
    store_skills(library, make_skill_set())
    other = make_skill_set(seed=1)
    with pytest.raises(LibraryError, match=r"found .*: choose other names, or delete them first"):
        store_skills(library, other)
    assert_same(load_skills(library), make_skill_set())
    store_skills(library, other, replace=True)
    assert_same(load_skills(library), other)


def test_two_tables_of_the_same_weights_are_kept_apart(local, make_skill_set):
    first = make_skill_set()
    store_skills(local, first)
    table = replace(first.table, logits={group: -own for group, own in first.table.logits.items()})
    second = SkillSet([skill.rename(f"other-{skill.name}") for skill in first.skills], table)
    store_skills(local, second)
    assert_same(load_skills(local, "skills-0"), first)
    assert_same(load_skills(local, "other-skills-0"), second)


def test_skills_come_in_one_commit_after_their_table(local, make_skill_set, monkeypatch):
    """Guards half a set, or skills without a table, after a kill."""
    seen = []
    commit = LocalChange.commit

    def record(change, puts, deletes=()):
        seen.append(sorted({path.partition("/")[0] for path in puts}))
        return commit(change, puts, deletes)

    monkeypatch.setattr(LocalChange, "commit", record)
    store_skills(local, make_skill_set())
    assert seen == [[".lorary"], ["skills-0", "skills-1", "skills-2"]]
