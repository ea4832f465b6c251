import json
import shutil

import pytest

from lorary.library import Library
from tests.cli.commands.train.quick import QUICK

TASKS = ("--tasks", "generated:plurals", "generated:prices", "generated:past_tense")


@pytest.fixture
def library(tmp_path, trained_library):
    """A copy of the library of three experts."""
    return shutil.copytree(trained_library, tmp_path / "experts")


@pytest.fixture
def train_moe(lorary, tmp_path, library, tiny_base):
    """Train a router over the three experts of a library."""
    run = ("--run", str(tmp_path / "run"))
    return lambda *words: lorary(
        "train", str(library), "--base", tiny_base, "--method", "moe", *run, *TASKS, *QUICK, *words
    )


def test_a_router_is_trained_stored_evaluated_and_used(train_moe, lorary, library, tmp_path):
    code, output, errors = train_moe()
    assert code == 0, errors
    assert "experts   3, frozen: past_tense, plurals, prices" in output
    assert "router    linear, top 2, from random rows" in output
    assert "share of choices" in output
    assert output.splitlines()[-1].endswith("--routes base,uniform,arrow,moe")
    words = ("--evaluation.num_examples", "2", "--routes", "base,moe", "--against", "base", "--json")
    code, output, errors = lorary("eval", str(library), *TASKS, *words)
    assert code == 0, errors
    assert "moe" in output
    code, output, errors = lorary(
        "generate",
        str(library),
        "plural of",
        "--router",
        "moe",
        "--moe.top_k",
        "1",
        "--max-new-tokens",
        "3",
    )
    assert code == 0, errors
    sizes = ("--traced-examples", "1", "--transfer-examples", "0", "--num-samples", "0")
    place = ("--router", "moe", "--out", str(tmp_path / "page"), "--evaluation.num_examples", "1")
    code, output, errors = lorary("report", str(library), *TASKS, *place, *sizes)
    assert code == 0, errors
    usage = json.loads((tmp_path / "page" / "report.json").read_text())["usage_by_layer"]
    assert all(sum(shares.values()) == pytest.approx(1, abs=1e-3) for shares in usage.values())
    code, output, errors = lorary("build", str(library), "--router", "moe", "--out", str(tmp_path / "built"))
    assert code == 0, errors
    assert lorary("generate", str(tmp_path / "built"), "plural of", "--max-new-tokens", "3")[0] == 0


def test_json_has_the_use_of_each_expert_at_each_layer(train_moe):
    words = (
        "--json",
        "--moe.warm_start",
        "none",
        "--moe.shared",
        '["past_tense"]',
        "--moe.shared_gate",
        "true",
    )
    code, output, errors = train_moe(*words)
    assert code == 0, errors
    found = json.loads(output)
    assert found["router"] == "moe" and found["shared"] == ["past_tense"]
    assert sum(found["usage"]["shares"].values()) == pytest.approx(1)
    assert found["usage"]["num_dropped"] == 0
    for layer in found["usage"]["layers"].values():
        assert layer["shares"].keys() == {"plurals", "prices"}
        assert layer["entropy"] >= 0 and layer["token_entropy"] >= 0


def test_trained_experts_are_new_ones_with_parents(train_moe, library):
    code, _, errors = train_moe("--moe.train_experts", "true", "--expert", "mix")
    assert code == 0, errors
    stored = Library.open(str(library))
    assert {"mix-past_tense", "mix-plurals", "mix-prices", "past_tense"} <= set(stored)
    assert stored["mix-past_tense"].card.parents == ("past_tense",)
    # As after a run that was killed while it stored its results.
    del stored["mix-plurals"]
    code, _, errors = train_moe("--moe.train_experts", "true", "--expert", "mix")
    assert code == 0, errors
    assert "mix-plurals" in stored
    code, _, errors = train_moe("--moe.train_experts", "true", "--expert", "mix", "--fresh")
    assert (
        code == 2 and "already has ['mix-past_tense', 'mix-plurals', 'mix-prices']: add --replace" in errors
    )


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (("--moe.top_k", "4"), ["top_k must be at most the number of routed experts, 3, found 4"]),
        (("--moe.num_groups", "2"), ["num_groups must divide the number of routed experts, 3, found 2"]),
        (
            ("--moe.top_k", "1", "--moe.jitter", "2", "--groups", "{a: [past_tense]}"),
            ["weighting 'kept' needs top_k above 1", "jitter must be in [0, 1)", "groups are --moe.groups"],
        ),
        (("--moe.shared", '["law"]'), ["shared must name experts of ['past_tense', 'plurals', 'prices']"]),
        (("--skills.num_skills", "3"), ["--skills.num_skills is a setting of method poly and mhr"]),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_loaded(train_moe, words, messages):
    code, _, errors = train_moe(*words)
    assert code == 2
    for message in messages:
        assert message in " ".join(errors.split())


def test_a_library_without_experts_or_without_a_router_is_refused(lorary, train_quickly, library, tmp_path):
    Library.open(str(tmp_path / "lib"), create=True)
    code, _, errors = train_quickly("--tasks", "generated:plurals", "--method", "moe")
    assert code == 2 and "is empty: train experts" in errors
    code, _, errors = lorary("generate", str(library), "a", "--router", "moe")
    assert code == 2 and "--method moe" in errors
