from dataclasses import replace
from statistics import mean

import pytest

from lorary.assembly import load_model
from lorary.data import Example, PlainTemplate, Task
from lorary.errors import DataError
from lorary.evaluation import EvalConfig, Route, evaluate
from lorary.evaluation import tuning as tuning_module
from lorary.evaluation.tuning import Tuning, tune_calibrated
from lorary.experts import hash_weights
from lorary.routing import CalibratedConfig

GENERIC = ("Some text of no task.", "And another one, 1 2 3.")
START = CalibratedConfig(generic=GENERIC)
CONFIG = EvalConfig(metrics=("loss",), max_length=64)


@pytest.fixture
def own():
    """Two tasks of six examples each."""
    return {
        name: Task(
            name, {"test": [Example(f"{name} {number}", (f"answer {number * 7}",)) for number in range(6)]}
        )
        for name in ("one", "two")
    }


def test_losses_are_those_of_an_evaluation_and_half_is_held_out(model, own):
    steps = []
    found = tune_calibrated(
        model, own, PlainTemplate(), CONFIG, START, on_progress=lambda *step: steps.append(step)
    )
    chosen = CalibratedConfig(generic=GENERIC, **found.options)
    routes = [
        Route(name=name, router="calibrated", options=options)
        for name, options in (("before", START), ("after", chosen))
    ]
    result = evaluate(model, own, routes, PlainTemplate(), CONFIG)
    by_route = {
        route: [loss for task in own for loss in result.values(task, route, "loss")]
        for route in ("before", "after")
    }
    assert (found.num_chosen_on, found.num_held_out) == (6, 6)
    assert found.loss_before == pytest.approx(mean(by_route["before"][1::2]), abs=1e-4)
    assert found.loss == pytest.approx(mean(by_route["after"][1::2]), abs=1e-4)
    assert mean(by_route["after"][::2]) <= mean(by_route["before"][::2]) + 1e-6
    assert steps[-1][0] == steps[-1][1] and steps == sorted(steps)


def test_without_any_trust_experts_on_top_of_a_general_one_are_level_with_it(
    build_tiny_base, draw_expert, own
):
    base = build_tiny_base()
    general = draw_expert(base, "general", role="general")
    names = [f"expert {number}" for number in range(5)]
    experts = {name: draw_expert(base, name, on_top_of=hash_weights(general)) for name in names}
    model = load_model(base, experts, general=general, router=None)
    start = replace(START, margin=1e9)
    found = tune_calibrated(model, own, PlainTemplate(), CONFIG, start)
    result = evaluate(
        model, own, [Route(name="alone", expert_of=dict.fromkeys(own, "general"))], PlainTemplate(), CONFIG
    )
    losses = [loss for task in own for loss in result.values(task, "alone", "loss")]
    assert found.loss_before == pytest.approx(mean(losses[1::2]), abs=1e-4)


def test_better_means_by_more_than_one_standard_error():
    found = {"options": {}, "num_chosen_on": 4, "num_held_out": 4, "loss_before": 2.0, "error": 0.1}
    assert Tuning(**found, loss=1.85).is_better
    assert not Tuning(**found, loss=1.95).is_better and not Tuning(**found, loss=2.5).is_better


def test_few_examples_are_refused(model, own):
    few = replace(CONFIG, num_examples=2)
    with pytest.raises(DataError, match=r"tuning needs at least 6 examples, half .* found 4 in split 'test'"):
        tune_calibrated(model, own, PlainTemplate(), few, START)


def test_every_tuned_option_is_one_of_the_router(model):
    default = CalibratedConfig()
    assert all(getattr(default, name) in values for name, values in tuning_module.TRIED.items())
