"""``lorary train --general`` and ``--on-top-of``."""

import torch

from lorary.experts import hash_weights
from lorary.library import Library

TASKS = ("--tasks", "generated:plurals", "generated:prices")


def read(tmp_path):
    return Library.open(str(tmp_path / "lib"))


def test_a_general_expert_is_trained_first_and_the_others_on_top_of_it(train_quickly, lorary, tmp_path):
    words = (*TASKS, "--general", "--general.rank", "3", "--general.name", "common")
    code, output, errors = train_quickly(*words)
    assert code == 0, errors
    assert "general   common, on which the others will build" in output
    assert "on top of common, which is always active and not changed" in " ".join(output.split())
    library = read(tmp_path)
    assert sorted(library) == ["common", "plurals", "prices"]
    general = library["common"]
    assert (general.card.role, general.max_rank, general.card.on_top_of) == ("general", 3, None)
    assert sorted(general.card.tasks) == ["plurals", "prices"]
    for name in ("plurals", "prices"):
        assert library[name].card.on_top_of == hash_weights(general)
    code, output, _ = train_quickly(*words)
    assert code == 0
    assert output.startswith("nothing to train: library")
    code, output, _ = lorary("library", "show", str(tmp_path / "lib"), "prices")
    assert "on top of" in output
    assert "common" in output
    code, _, errors = lorary(
        "generate", str(tmp_path / "lib"), "cat", "--router", "arrow", "--max-new-tokens", "1"
    )
    assert code == 0 and "left out" not in errors, "the general expert is always on"
    code, output, errors = lorary("library", "rm", str(tmp_path / "lib"), "common")
    assert (code, "build on it ('plurals', 'prices')" in " ".join(errors.split())) == (2, True)


def test_an_expert_of_the_library_can_be_stood_on(train_quickly, tmp_path):
    assert train_quickly(*TASKS, "--expert", "all")[0] == 0
    code, _, errors = train_quickly("--tasks", "generated:plurals", "--on-top-of", "all")
    assert code == 0, errors
    library = read(tmp_path)
    assert library["plurals"].card.on_top_of == hash_weights(library["all"])
    code, _, errors = train_quickly("--tasks", "generated:plurals")
    assert code == 2
    assert "it was trained on top of a general expert" in " ".join(errors.split())


def test_wrong_settings_are_refused(train_quickly):
    cases = {
        ("--general.rank", "3"): "settings have no effect without --general",
        ("--general", "--on-top-of", "all"): "use only one of them",
        ("--general", "--general.name", "prices"): "must have its own name",
        ("--general", "--general.leave_out", "[prizes]"): "which is not in --tasks",
        ("--general", "--general.leave_out", "[prices, plurals]"): "must leave at least one task",
        ("--general", "--general.rank", "0"): "rank must be at least 1, found 0",
        ("--general", "--method", "poly"): "--general is for training experts",
    }
    for words, message in cases.items():
        code, _, errors = train_quickly(*TASKS, *words)
        assert (code, message in " ".join(errors.split())) == (2, True), errors


def test_tasks_left_out_do_not_reach_the_general_expert(train_quickly, tmp_path):
    code, _, errors = train_quickly(*TASKS, "--general", "--general.leave_out", "[prices]")
    assert code == 0, errors
    library = read(tmp_path)
    assert library["general"].card.tasks == ("plurals",)
    factors = library["general"].factors
    assert all(torch.isfinite(pair.b).all() for pair in factors.values())
