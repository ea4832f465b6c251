import json

import pytest

from lorary.library import Library

SIZES = ("--max-steps", "2", "--num-tests", "2")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory, build_tiny_base):
    """A tiny base model in a folder, as ``--base`` takes it."""
    base = build_tiny_base()
    folder = str(tmp_path_factory.mktemp("base") / "tiny")
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def test_everything_is_made_and_shown_and_the_next_call_only_shows_it(
    lorary, tmp_path, tiny_folder, monkeypatch
):
    out = tmp_path / "quick"
    words = ("quickstart", "--out", str(out), "--base", tiny_folder, *SIZES)

    code, first, _ = lorary(*words)

    assert code == 0
    for route in ("base", "random", "uniform", "multi-task", "arrow", "oracle"):
        assert route in first
    assert len(Library.open(str(out / "library"))) == 8
    assert list(Library.open(str(out / "controls"))) == ["multi-task"]
    assert "<html" in (out / "routing.html").read_text()
    assert (out / "routing.png").read_bytes().startswith(b"\x89PNG")
    assert "next: lorary generate" in first

    monkeypatch.setattr("lorary.models.load_base", None)
    code, second, _ = lorary(*words)

    assert code == 0
    assert second == first


def test_other_sizes_are_another_plan_whose_outcome_is_not_reused(tmp_path):
    from lorary.cli.quickstart_steps.outcome import load_outcome
    from lorary.cli.quickstart_steps.plan import QuickstartPlan

    plan = QuickstartPlan(max_steps=2)
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "outcome.json").write_text(
        json.dumps({"plan": {"max_steps": 3}, "seconds": 1, "samples": []})
    )

    assert load_outcome(plan, tmp_path) is None


def test_a_size_that_leaves_no_standard_error_is_refused(lorary, tmp_path):
    code, _, complaint = lorary("quickstart", "--out", str(tmp_path), "--num-tests", "1")

    assert code == 2
    assert "num_tests must be at least 2" in complaint
