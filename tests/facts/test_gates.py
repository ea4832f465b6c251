from dataclasses import asdict

import pytest
import torch

from lorary.assembly import load_model
from lorary.data import TokenizedExample
from lorary.facts import find_gates
from lorary.library import Library
from lorary.training import GateConfig, TrainingExamples, train_gates

DIGESTS = {"dates": "d1", "morse": "m1"}


@pytest.fixture
def library(tmp_path, experts):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    return library


@pytest.fixture
def train(model):
    """A stand-in for training, that notes what it was asked for: row r of a layer holds the name's length."""

    def train(names):
        train.calls.append(list(names))
        return {
            path: torch.stack([torch.full((layer.a.shape[2],), float(len(name))) for name in names])
            for path, layer in model.stack.layers.items()
        }

    train.calls = []
    return train


def test_gates_are_trained_once_and_kept(library, build_tiny_base, train):
    model = load_model(build_tiny_base(), library, router=None)
    for _ in range(2):
        found = find_gates(model, library, DIGESTS, {"num_steps": 3}, train)
        assert list(found) == list(model.stack.layers)
        assert all((rows[0] == 5).all() and rows.shape[0] == 2 for rows in found.values())
    assert train.calls == [["dates", "morse"]]


def test_other_data_other_options_and_other_experts_are_trained_anew(library, build_tiny_base, train):
    model = load_model(build_tiny_base(), library, router=None)
    find_gates(model, library, DIGESTS, {"num_steps": 3}, train)
    find_gates(model, library, {**DIGESTS, "morse": "m2"}, {"num_steps": 3}, train)
    find_gates(model, library, DIGESTS, {"num_steps": 4}, train)
    find_gates(model, library, {"prices": "p1", **DIGESTS}, {"num_steps": 3}, train)
    assert train.calls == [["dates", "morse"], ["morse"], ["dates", "morse"], ["prices"]]


def test_rows_come_in_the_order_that_was_asked_for(library, build_tiny_base, train):
    model = load_model(build_tiny_base(), library, router=None)
    find_gates(model, library, {"dates": "d1"}, {}, train)
    found = find_gates(model, library, {"plurals": "p", "dates": "d1"}, {}, train)
    assert all(rows[:, 0].tolist() == [7.0, 5.0] for rows in found.values())
    model.provide(gates=found, names=["plurals", "dates"])


def test_trained_gates_route_a_library(library, build_tiny_base):
    config = GateConfig(num_steps=2, batch_size=2)
    examples = {
        name: TrainingExamples(
            train=(TokenizedExample((5 + row, 6), (7, 8)), TokenizedExample((9, row), (4,)))
        )
        for row, name in enumerate(library)
    }
    digests = {name: found.digest for name, found in examples.items()}
    asked = []

    def load():
        model = load_model(build_tiny_base(), library, router=None)

        def train(names):
            asked.append(list(names))
            return train_gates(model.stack, {name: examples[name] for name in names}, config)

        model.provide(gates=find_gates(model, library, digests, asdict(config), train))
        model.set_router("phatgoose")
        return model

    first, second = load(), load()
    assert asked == [list(library)]
    found = first.explain("abc").weights
    assert torch.equal(found, second.explain("abc").weights)
    assert ((found > 0).sum(-1) == 2).all()
