"""Routers of ``lorary eval`` that need examples of the experts' own tasks."""

import json
from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model
from lorary.cli.comparison.material import provide_material
from lorary.data import find_template
from lorary.data.synthetic import generate_tasks
from lorary.evaluation import EvalConfig, evaluate, make_routes
from lorary.facts import gates
from lorary.library import Library
from lorary.models import load_base

FEW = ("--evaluation.num_examples", "3")
TWO = ("--tasks", "generated:plurals", "generated:prices")
EVERYONE = ("--tasks", "generated:plurals", "generated:prices", "generated:past_tense", *FEW)
LEARNED = ("mean_activation", "retrieval", "phatgoose")


def test_routers_that_know_the_tasks_learn_from_their_training_examples(lorary, trained_library, tiny_base):
    code, output, said = lorary(
        "eval", trained_library, *EVERYONE, "--routes", "mean_activation,retrieval", "--json"
    )
    assert code == 0, said
    found = json.loads(output)["loss"]["mean"]
    model = load_model(load_base(tiny_base, dtype=torch.float32), trained_library, router=None)
    tasks = generate_tasks(["plurals", "prices", "past_tense"])
    provide_material(
        model,
        Library.open(trained_library),
        dict(tasks),
        find_template("plain"),
        ["mean_activation", "retrieval"],
    )
    routes = make_routes(["mean_activation", "retrieval"], model, {name: name for name in tasks})
    result = evaluate(model, tasks, routes, find_template("plain"), EvalConfig(num_examples=3))
    for router in ("mean_activation", "retrieval"):
        assert found[router]["mean"] == pytest.approx(result.overall(router, "loss").mean, abs=1e-3)


def test_gates_are_trained_once_and_taken_from_the_library_then(
    trained_library, tiny_base, monkeypatch, tmp_path
):
    library = Library.open(str(tmp_path / "copy"), create=True)
    for name, expert in Library.open(trained_library).items():
        library[name] = expert
    model = load_model(load_base(tiny_base), library, router=None)
    tasks = generate_tasks(["plurals", "prices", "past_tense"], train=4)
    train, trained = gates.train_gates, []

    def train_shortly(stack, examples, config, **callbacks):
        trained.extend(examples)
        return train(stack, examples, replace(config, num_steps=2, batch_size=2), **callbacks)

    monkeypatch.setattr(gates, "train_gates", train_shortly)
    for _ in range(2):
        provide_material(model, library, dict(tasks), find_template("plain"), ["phatgoose"])
        model.set_router("phatgoose")
    assert sorted(trained) == sorted(library)


@pytest.mark.parametrize("router", LEARNED)
def test_such_routers_need_the_task_of_every_expert(lorary, trained_library, router, monkeypatch):
    monkeypatch.setattr("lorary.cli.base_model.load_base", None)
    code, _, said = lorary("eval", trained_library, *TWO, *FEW, "--routes", router)
    assert code == 2
    assert (
        f"router {router!r} needs training examples of every expert's own task, but --tasks has none" in said
    )
    assert "for expert 'past_tense': add their tasks, or leave out that router" in said
