"""Merges and other experts that no router chooses: left out with a word, used if named or asked for."""

import json
import shutil

import pytest

from lorary.library import Library
from lorary.transforms import merge

LINE = "left out: 1 merge (merged); --include merge uses it too"
PROMPT = "plural of mouse"
NAMES = ["past_tense", "plurals", "prices"]


@pytest.fixture
def mixed(trained_library, tmp_path):
    """The URL of a library of three experts and their merge."""
    library = Library.open(shutil.copytree(trained_library, tmp_path / "mixed"))
    library.add(merge(library, "linear", name="merged"))
    return library.url


def count(text):
    return sum(line == LINE for line in text.splitlines())


def test_a_merge_is_listed_and_says_how_it_is_used(lorary, library):
    words = ("--method", "linear", "--experts", "poetry,sql", "--out", "both")
    _, output, _ = lorary("merge", library.url, *words)
    assert "its role is merge: it is used by name, and by routers with --include merge\n" in output
    _, output, _ = lorary("library", "ls", library.url, "--role", "merge")
    assert output.splitlines()[1].split()[:2] == ["both", "merge"]
    assert "role       merge" in " ".join(lorary("library", "show", library.url, "both")[1].split("  "))


def test_merging_all_leaves_merges_out(lorary, mixed):
    def parents(*words):
        _, output, said = lorary("merge", mixed, "--method", "linear", "--dry-run", "--json", *words)
        return json.loads(output)["names"], count(said)

    assert parents() == (NAMES, 1)
    assert parents("--include", "merge") == (["merged", *NAMES], 0)
    assert parents("--experts", "merged,prices") == (["merged", "prices"], 0)
    code, _, said = lorary("merge", mixed, "--experts", "prices", "--include", "merge", "--out", "x")
    assert code == 2 and "--experts names the experts to merge: leave out --include" in said


def test_building_leaves_merges_out(lorary, mixed, tmp_path):
    def build(name, *words):
        _, output, said = lorary("build", mixed, "--out", str(tmp_path / name), "--json", *words)
        return json.loads(output)["experts"], count(said)

    assert build("a", "--router", "uniform") == (NAMES, 1)
    assert build("b", "--router", "uniform", "--include", "all") == (["merged", *NAMES], 0)
    found = lorary(
        "generate", str(tmp_path / "b"), PROMPT, "--json", "--show-experts", "--max-new-tokens", "1"
    )
    assert list(json.loads(found[1])["experts"]) == ["merged", *NAMES]


def test_generating_leaves_merges_out_and_answers_with_one_by_name(lorary, mixed):
    words = ("--max-new-tokens", "1", "--json", "--show-experts", "--router", "uniform")
    _, output, said = lorary("generate", mixed, PROMPT, *words)
    assert list(json.loads(output)["experts"]) == NAMES and count(said) == 1
    _, output, said = lorary("generate", mixed, PROMPT, *words, "--include", "merge")
    assert list(json.loads(output)["experts"]) == ["merged", *NAMES] and count(said) == 0
    _, output, said = lorary("generate", mixed, PROMPT, "--expert", "merged", *words[:3])
    assert json.loads(output)["expert"] == "merged" and count(said) == 0


def test_evaluating_leaves_merges_out_and_measures_one_by_name(lorary, mixed):
    words = ("--tasks", "synthetic:plurals", "synthetic:prices", "--evaluation.num_examples", "2", "--json")
    _, output, said = lorary("eval", mixed, *words, "--routes", "base,uniform,oracle,expert:merged")
    assert count(said) == 1 and "expert:merged" in output
    code, _, said = lorary("eval", mixed, *words, "--routes", "expert:merge")
    assert code == 2 and "did you mean 'merged'" in said


def test_clusters_and_prototypes_leave_merges_out(lorary, mixed, tmp_path):
    out = ("--out", str(tmp_path / "clusters.yaml"), "--num-clusters", "2", "--json")
    _, output, said = lorary("cluster", mixed, *out)
    clusters = json.loads(output)["clusters"]
    assert sorted(name for found in clusters for name in found["experts"]) == NAMES and count(said) == 1
    _, output, said = lorary("prototypes", mixed, "--json")
    assert json.loads(output)["experts"] == 3 and count(said) == 1
    _, output, said = lorary("subtract", mixed, "merged", "--out", str(tmp_path / "rest"), "--json")
    assert json.loads(output)["experts"] == NAMES and count(said) == 1
    assert list(Library.open(tmp_path / "rest").routed()) == NAMES


def test_a_library_of_merges_alone_says_what_to_do(lorary, mixed):
    library = Library.open(mixed)
    for name in NAMES:
        del library[name]
    code, _, said = lorary("generate", mixed, PROMPT)
    assert code == 2
    assert "has no experts that are used by default, only 1 merge (merged)" in said
    assert "add --include merge" in said
    code, _, said = lorary("generate", mixed, PROMPT, "--include", "merges")
    assert code == 2 and "--include: there is no role 'merges': did you mean 'merge'" in said
