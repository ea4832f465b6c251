"""Answers by compiled steps: the same as by the model as it is, whoever routes."""

import sys

import pytest
import torch
from transformers import CompileConfig

from lorary.kernels.cpu import is_compiled_for

PROMPTS = [[5, 9, 14, 3], [7, 7], [30, 2, 11]]


@pytest.fixture
def graphs():
    """What was compiled: all of a step in one graph, or an error."""
    torch._dynamo.reset()
    yield []
    torch._dynamo.reset()


@pytest.fixture
def config(graphs):
    """How to compile: note the graph and run it as it is."""

    def note(graph, _):
        graphs.append(graph)
        return graph.forward

    return CompileConfig(backend=note, mode=None, fullgraph=True)


def count_calls(graph, name):
    return sum(name in str(node.target) for node in graph.graph.nodes)


def assert_same_answers(model, config):
    expected = model.generate(PROMPTS, max_new_tokens=6)
    assert model.generate(PROMPTS, max_new_tokens=6, compile=config) == expected


@pytest.mark.skipif(not is_compiled_for(torch.zeros(1)), reason="needs a C++ compiler")
@pytest.mark.parametrize("router", ["arrow", "spectr", "calibrated"])
def test_answers_are_the_same_by_one_graph(model, config, graphs, router):
    model.set_router(router, combine="factors" if router == "spectr" else "outputs")
    assert_same_answers(model, config)
    assert len(graphs) == 1
    assert count_calls(graphs[0], "lorary.mix_rows") == len(model.stack.layers)


@pytest.mark.parametrize("are_many", [False, True])
def test_without_operators_plain_pytorch_is_compiled(model, config, graphs, monkeypatch, are_many):
    monkeypatch.setattr("lorary.kernels.cpu.load_object", lambda: None)
    if are_many:  # as if there were so many experts that tokens were grouped by them
        module = sys.modules["lorary.models.mix_backends"]
        monkeypatch.setattr(module, "DENSE_RANKS", 0)
        monkeypatch.setattr(module, "GATHER_PAIRS", 0)
    assert_same_answers(model, config)
    assert [count_calls(graph, "lorary") for graph in graphs] == [0]


def test_other_experts_by_name_need_no_other_graph(model, config, graphs):
    for names in (
        ["dates", "morse", "dates"],
        ["narrow", "dates", "prices"],
        ["plurals", "plurals", "morse"],
    ):
        with model.assign(names):
            assert_same_answers(model, config)
    assert len(graphs) == 1


def test_an_expert_more_is_compiled_anew(model, config, graphs, base, draw_expert):
    assert_same_answers(model, config)
    model.add_expert(draw_expert(base, "sums", rank=3))
    assert_same_answers(model, config)
    assert len(graphs) == 2
