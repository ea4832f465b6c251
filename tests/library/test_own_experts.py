from dataclasses import replace

import pytest

from lorary.experts import ExpertCard
from lorary.library import Library
from lorary.library.own_experts import find_own_experts


@pytest.fixture
def make(make_expert):
    """Make an expert of some tasks."""
    return lambda name, tasks: replace(make_expert(name), card=ExpertCard(tasks=tasks))


@pytest.fixture
def library(tmp_path, make):
    """Experts of several tasks, of one, and of none that the card names."""
    library = Library.open(str(tmp_path / "lib"), create=True)
    for name, tasks in {"poetry": ("rhymes", "odes"), "sql": ("queries",), "card games": ()}.items():
        library.add(make(name, tasks))
    return library


def test_a_tasks_own_expert_is_found_by_name_or_by_what_it_learnt(library, make):
    library.add(make("q2", ("queries",)))
    found = find_own_experts(library.entries(), ["poetry", "queries", "card games"])
    assert found == {"poetry": "poetry", "card games": "card games"}
    del library["q2"]
    assert find_own_experts(library.entries(), ["queries"]) == {"queries": "sql"}


def test_a_clusters_expert_is_that_of_all_its_tasks(library, make):
    assert find_own_experts(library.entries(), ["rhymes", "odes"]) == {"rhymes": "poetry", "odes": "poetry"}
    library.add(make("o", ("odes",)))
    assert find_own_experts(library.entries(), ["rhymes", "odes"]) == {"rhymes": "poetry", "odes": "o"}
    library.add(make("r", ("rhymes", "songs")))
    assert find_own_experts(library.entries(), ["rhymes"]) == {}


def test_an_expert_whose_card_names_no_task_has_that_of_its_name(library):
    found = {entry.name: entry.own_tasks for entry in library.entries()}
    assert found == {"card games": ("card games",), "poetry": ("rhymes", "odes"), "sql": ("queries",)}
