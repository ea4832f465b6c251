"""What holds for every method; a new one joins by its line in the table."""

import pytest
import torch

from lorary.adaptation.adapting import plan_tokens
from lorary.adaptation.config import fit_train
from lorary.adaptation.methods.table import METHODS
from lorary.experts import Expert
from lorary.models.expert_linear import ExpertLinear

# Settings without which a method refuses to work, for each method that has any.
NEEDED = {"multi-task": {"multi_task": "sql"}}
pytestmark = pytest.mark.parametrize("method", METHODS)


def settings_of(method):
    return NEEDED.get(method, {})


def same(one, other):
    return one.factors.keys() == other.factors.keys() and all(
        torch.equal(mine, theirs)
        for path, pair in one.factors.items()
        for mine, theirs in zip(pair, other.factors[path], strict=True)
    )


def test_each_task_gets_an_expert_with_its_origin(run, tiny, library, few, method, tmp_path):
    found = run(method, tmp_path, **settings_of(method))
    assert list(found.tasks) == list(few)
    for name, task in found.tasks.items():
        card = task.expert.card
        assert isinstance(task.expert, Expert) and task.expert.name == name and card.tasks == (name,)
        assert card.base_fingerprint == tiny.fingerprint and task.expert.base_model == tiny.name
        origin = card.provenance["adaptation"]
        assert (origin["task"], origin["method"]) == (name, method)
        assert set(card.parents) <= set(library)
        assert bool(card.parents) == (METHODS[method].uses_experts or method == "multi-task")
        assert origin["weights"] == task.weights
    assert found.seconds > 0
    assert not any(isinstance(module, ExpertLinear) for module in tiny.model.modules())


def test_the_budget_of_tokens_is_kept(run, few, configure, method, tmp_path):
    config = configure(method, **settings_of(method))
    found = run(method, tmp_path, **settings_of(method))
    for name, task in found.tasks.items():
        budget = plan_tokens(name, few[name], fit_train(config, [1, 2]))
        longest = max(len(example) for example in few[name].train)
        assert 0 < task.num_tokens <= budget
        if task.progress.step == 4:
            assert task.num_tokens > budget - longest


def test_the_same_run_gives_the_same_bits_and_is_read_at_once_the_second_time(
    run, tiny, method, tmp_path, monkeypatch
):
    settings = settings_of(method)
    one, other = (run(method, tmp_path / name, **settings) for name in "ab")
    # A finished run is read: the model does not run.
    monkeypatch.setattr(type(tiny.model), "forward", None)
    again = run(method, tmp_path / "a", **settings)
    for name, task in one.tasks.items():
        assert same(task.expert, other.tasks[name].expert) and same(task.expert, again.tasks[name].expert)
        assert task.expert.card == other.tasks[name].expert.card == again.tasks[name].expert.card
        assert task.progress == again.tasks[name].progress
    assert again.seconds == one.seconds


def test_a_killed_run_resumes_to_the_same_bits(run, method, tmp_path):
    """It is stopped again and again, a little later each time."""
    train, settings = {"checkpoint_seconds": 0.0}, settings_of(method)
    whole = run(method, tmp_path / "whole", train=train, **settings)
    for attempt in range(100):
        events = []

        def stop(event, events=events, last=3 + 5 * attempt):
            events.append(event)
            if len(events) == last:
                raise SystemExit

        try:
            found = run(method, tmp_path / "cut", train=train, told={"on_progress": stop}, **settings)
        except SystemExit:
            continue
        break
    for name, task in whole.tasks.items():
        assert same(task.expert, found.tasks[name].expert)
        assert task.expert.card == found.tasks[name].expert.card


def test_another_seed_gives_another_expert(run, method, tmp_path):
    unvalidated = {"validate_every": None, "patience": None}
    one, other = (
        run(method, tmp_path / str(seed), train={"seed": seed, **unvalidated}, **settings_of(method)).experts[
            "greek"
        ]
        for seed in (0, 1)
    )
    assert not same(one, other)


def test_a_task_adapted_with_others_equals_the_one_adapted_alone(run, few, method, tmp_path):
    together = run(method, tmp_path / "together", **settings_of(method))
    alone = run(method, tmp_path / "alone", examples={"greek": few["greek"]}, **settings_of(method))
    for path, (a, b) in alone.experts["greek"].factors.items():
        other = together.experts["greek"].factors[path]
        torch.testing.assert_close(other.b @ other.a, b @ a, rtol=1e-3, atol=1e-4)
