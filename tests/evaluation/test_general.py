"""Routes of experts on a general expert have the losses of the same experts on the folded base model."""

from dataclasses import replace

import pytest

from lorary.assembly import load_model
from lorary.data import find_template
from lorary.evaluation import EvalConfig, evaluate, make_routes
from lorary.experts import hash_weights
from lorary.models import fold, wrap_base
from lorary.transforms import random_expert

OWN = {"dates": "dates", "morse": "morse"}
NAMES = ["base", "random", "multi-task", "uniform", "arrow", "oracle"]


def assert_same(found, wanted, task, route, as_route=None):
    expected = wanted.scores[task, as_route or route, "loss"]
    assert found.scores[task, route, "loss"] == pytest.approx(expected, rel=1e-4)


def test_every_route_has_the_losses_of_the_folded_base_model(build_tiny_base, draw_expert, tasks):
    base, plain = build_tiny_base(), build_tiny_base()
    general = draw_expert(base, "common", rank=4, role="general")
    alone = draw_expert(base, "multi-task", rank=3)
    experts = {name: draw_expert(base, name, on_top_of=hash_weights(general)) for name in (*OWN, "plurals")}
    controls = {"random": random_expert(experts), "multi-task": alone}
    model = load_model(base, experts, general=general, router=None, controls=controls)
    folded = wrap_base(fold(plain.model, general), plain.tokenizer, name="folded")
    bare = {
        name: replace(each, card=replace(each.card, on_top_of=None)).with_base("folded")
        for name, each in (experts | controls).items()
    }
    own = {name: bare[name] for name in experts}
    whole = load_model(folded, own, router=None, controls={"random": bare["random"]})
    template, config = find_template("plain"), EvalConfig(metrics=("loss",))
    names = [*NAMES, "expert:common"]
    found = evaluate(model, tasks, make_routes(names, model, OWN), template, config)
    under = ["random", "uniform", "arrow", "oracle"]
    wanted = evaluate(whole, tasks, make_routes(["base", *under], whole, OWN), template, config)
    for task in tasks:
        for route in under:
            assert_same(found, wanted, task, route)
        assert_same(found, wanted, task, "expert:common", "base")
    simple = load_model(plain, {"multi-task": alone}, router=None)
    again = evaluate(simple, tasks, make_routes(["base", "expert:multi-task"], simple, OWN), template, config)
    for task in tasks:
        assert_same(found, again, task, "base")
        assert_same(found, again, task, "multi-task", "expert:multi-task")
