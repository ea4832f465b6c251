"""The command line knows a router by the tables alone, with its options and what it needs of tasks."""

import json

import pytest

from tests.facts import toy


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    toy.register(monkeypatch)


def test_eval_finds_what_a_new_router_needs_of_the_tasks(lorary, trained_library):
    tasks = ("--tasks", *(f"synthetic:{name}" for name in ("plurals", "prices", "past_tense")))
    few = ("--evaluation.num_examples", "2")
    words = ("eval", trained_library, *tasks, *few, "--json", "--routes", "base,toy")
    code, output, said = lorary(*words, "--toy.power", "2")
    assert code == 0, said
    assert set(json.loads(output)["loss"]["mean"]) == {"base", "toy"}
    assert "computing the counts of 3 experts" in said
    assert toy.counts.calls == [["past_tense", "plurals", "prices"]]
    assert lorary(*words, "--toy.power", "2")[0] == 0
    assert len(toy.counts.calls) == 1


def test_generate_says_what_a_new_router_lacks(lorary, trained_library):
    code, _, said = lorary("generate", trained_library, "hello", "--router", "toy")
    assert code == 2
    assert "router 'toy' needs the counts of every expert, which only `lorary eval` and" in said
    assert "get them from lorary.facts.find_task_facts" in said
