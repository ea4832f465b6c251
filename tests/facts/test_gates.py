import json
from dataclasses import asdict

import pytest
import torch

from lorary.assembly import load_model
from lorary.data import TokenizedExample
from lorary.facts import find_task_facts, gates
from lorary.training import GateConfig, TrainingExamples

THREE, FOUR = GateConfig(num_steps=3), GateConfig(num_steps=4)


def draw(first):
    return TrainingExamples(train=(TokenizedExample((first, 6), (7, 8)), TokenizedExample((9, first), (4,))))


EXAMPLES = {"dates": draw(5), "morse": draw(6)}


def find_gates(model, experts, examples, config=THREE, **options):
    chosen = {"gates": asdict(config)}
    return find_task_facts(model, experts, examples, ["gates"], options=chosen, **options)["gates"]


@pytest.fixture
def calls(monkeypatch):
    """Names of each training, which a stand-in answers: row r of a layer holds the name's length."""
    calls = []

    def train(stack, examples, config, *, on_step):
        calls.append(list(examples))
        return {
            path: torch.stack([torch.full((layer.a.shape[2],), float(len(name))) for name in examples])
            for path, layer in stack.layers.items()
        }

    monkeypatch.setattr(gates, "train_gates", train)
    return calls


def test_gates_are_trained_once_and_kept(library, build_tiny_base, calls):
    model = load_model(build_tiny_base(), library, router=None)
    for _ in range(2):
        found = find_gates(model, library, EXAMPLES, THREE)
        assert list(found) == list(model.stack.layers)
        assert all((rows[0] == 5).all() and rows.shape[0] == 2 for rows in found.values())
    assert calls == [["dates", "morse"]]


def test_other_data_other_options_and_other_experts_are_trained_anew(library, build_tiny_base, calls):
    model = load_model(build_tiny_base(), library, router=None)
    find_gates(model, library, EXAMPLES, THREE)
    find_gates(model, library, {**EXAMPLES, "morse": draw(7)}, THREE)
    find_gates(model, library, EXAMPLES, FOUR)
    find_gates(model, library, {"prices": draw(8), **EXAMPLES}, THREE)
    assert calls == [["dates", "morse"], ["morse"], ["dates", "morse"], ["prices"]]


def test_rows_come_in_the_order_that_was_asked_for(library, build_tiny_base, calls):
    model = load_model(build_tiny_base(), library, router=None)
    find_task_facts(model, library, {"dates": draw(5)}, ["gates"])
    found = find_task_facts(model, library, {"plurals": draw(9), "dates": draw(5)}, ["gates"])["gates"]
    assert all(rows[:, 0].tolist() == [7.0, 5.0] for rows in found.values())
    model.provide(gates=found, names=["plurals", "dates"])


def test_gates_of_an_earlier_version_are_found(library, build_tiny_base, calls):
    """Its key held these parameters, and an artifact these tensors."""
    model = load_model(build_tiny_base(), library, router=None)
    parameters = {**asdict(THREE), "base": model.base.fingerprint, "data": draw(5).digest}
    widths = {path: layer.a.shape[2] for path, layer in model.stack.layers.items()}
    layout = torch.tensor(list(json.dumps(widths).encode()), dtype=torch.uint8)
    stored = {"rows": torch.full((sum(widths.values()),), 3.0), "layout": layout}
    library.artifacts("phatgoose-gates-1", parameters, lambda batch: {"dates": stored}, ["dates"])
    found = find_gates(model, library, {"dates": draw(5)}, THREE)
    assert all((rows == 3).all() for rows in found.values()) and calls == []


def test_progress_is_told(library, build_tiny_base):
    seen = []
    model = load_model(build_tiny_base(), library, router=None)
    config = GateConfig(num_steps=2, batch_size=2)
    find_gates(model, library, EXAMPLES, config, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 0), (1, 2), (2, 2)]


def test_trained_gates_route_a_library(library, build_tiny_base, monkeypatch):
    config = GateConfig(num_steps=2, batch_size=2)
    examples = {name: draw(5 + row) for row, name in enumerate(library)}
    asked, train = [], gates.train_gates

    def note(stack, examples, config, *, on_step):
        asked.append(list(examples))
        return train(stack, examples, config, on_step=on_step)

    monkeypatch.setattr(gates, "train_gates", note)

    def load():
        model = load_model(build_tiny_base(), library, router=None)
        model.provide(gates=find_gates(model, library, examples, config))
        model.set_router("phatgoose")
        return model

    first, second = load(), load()
    assert asked == [list(library)]
    found = first.explain("abc").weights
    assert torch.equal(found, second.explain("abc").weights)
    assert ((found > 0).sum(-1) == 2).all()
