"""What holds for every method; a new one joins by its line in the table."""

import pytest
import torch

from lorary.adaptation.config import fit_train
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieving import plan_tokens
from lorary.experts import Expert
from lorary.models.expert_linear import ExpertLinear

# Settings without which a method refuses to work, or would find nothing, for each method that has any.
NEEDED = {
    "multi-task": {"multi_task": "sql"},
    "lorahub": {"penalty": 0.0, "train": {"max_steps": 24}},
}
pytestmark = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def try_method(run):
    """Run a method with the settings that it needs."""

    def go(method, folder, train=None, **changes):
        needed = NEEDED.get(method, {})
        settings = {**needed, **changes, "train": {**needed.get("train", {}), **(train or {})}}
        return run(method, folder, **settings)

    return go


@pytest.fixture(scope="module")
def known(try_method, tmp_path_factory):
    """The result of each method's run, and its folder; computed once."""
    done = {}

    def find(method):
        if method not in done:
            folder = tmp_path_factory.mktemp(method)
            done[method] = try_method(method, folder), folder
        return done[method]

    return find


def same(one, other):
    return one.factors.keys() == other.factors.keys() and all(
        torch.equal(mine, theirs)
        for path, pair in one.factors.items()
        for mine, theirs in zip(pair, other.factors[path], strict=True)
    )


def test_each_task_gets_an_expert_with_its_origin(known, tiny, library, few, method):
    found, _ = known(method)
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


def test_the_budget_of_tokens_is_kept_and_used(known, few, configure, method):
    found, _ = known(method)
    train = {"max_steps": 4, **NEEDED.get(method, {}).get("train", {})}
    config = configure(method, train=train)
    for name, task in found.tasks.items():
        budget = plan_tokens(name, few[name], fit_train(config, [1, 2]))
        # LoraHub reads all examples at each try, so it cannot use less than that.
        unit = sum if METHODS[method].file == "lorahub" else max
        assert 0 < task.num_tokens <= budget
        if task.progress.num_worse < 3:
            assert task.num_tokens > budget - unit(len(example) for example in few[name].train)


def test_the_same_run_gives_the_same_bits_and_is_read_at_once_the_second_time(
    known, try_method, tiny, method, tmp_path, monkeypatch
):
    one, folder = known(method)
    other = try_method(method, tmp_path)
    # A finished run is read: the model does not run.
    monkeypatch.setattr(type(tiny.model), "forward", None)
    again = try_method(method, folder)
    for name, task in one.tasks.items():
        assert same(task.expert, other.tasks[name].expert) and same(task.expert, again.tasks[name].expert)
        assert task.expert.card == other.tasks[name].expert.card == again.tasks[name].expert.card
        assert task.progress == again.tasks[name].progress
    assert again.seconds == one.seconds


def test_a_killed_run_resumes_to_the_same_bits(known, try_method, method, tmp_path):
    """It is stopped four times, later each time."""
    whole, _ = known(method)
    for last in (2, 4, 7, 18, 10**6):
        events = []

        def stop(event, events=events, last=last):
            events.append(event)
            if len(events) == last:
                raise SystemExit

        try:
            found = try_method(method, tmp_path, told={"on_progress": stop})
        except SystemExit:
            continue
        break
    for name, task in whole.tasks.items():
        assert same(task.expert, found.tasks[name].expert)
        assert task.expert.card == found.tasks[name].expert.card


def test_another_seed_gives_another_expert(try_method, few, method, tmp_path):
    unvalidated = {"validate_every": None, "patience": None}
    # NGOpt may choose an optimiser without chance, so the seed draws other experts.
    drawn = {"retrieve": 2, "by": "random"} if method == "lorahub" else {}
    one, other = (
        try_method(
            method,
            tmp_path / str(seed),
            train={"seed": seed, **unvalidated},
            examples={"greek": few["greek"]},
            **drawn,
        )
        for seed in (0, 1)
    )
    assert not same(one.experts["greek"], other.experts["greek"])


def test_a_task_adapted_with_others_equals_the_one_adapted_alone(known, try_method, few, method, tmp_path):
    together, _ = known(method)
    alone = try_method(method, tmp_path, examples={"greek": few["greek"]})
    for path, (a, b) in alone.experts["greek"].factors.items():
        other = together.experts["greek"].factors[path]
        torch.testing.assert_close(other.b @ other.a, b @ a, rtol=1e-3, atol=1e-4)
