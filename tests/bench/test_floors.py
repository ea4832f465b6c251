"""What experts cost at the least, counted by hand for a model of one layer's width."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).parents[2]
WIDTH, WIDE, VOCABULARY, LAYERS = 32, 48, 96, 2


@pytest.fixture
def floors(monkeypatch):
    """The module, which is no part of the installed package."""
    monkeypatch.syspath_prepend(ROOT)
    from bench import floors

    return floors


def count_base():
    """Numbers in all linear layers of decoder layers, keys and values of half the width; and their widths."""
    attention = {(WIDTH, WIDTH): 2, (WIDTH, WIDTH // 2): 2}
    layers = {**attention, (WIDTH, WIDE): 2, (WIDE, WIDTH): 1}
    return (
        LAYERS * sum(count * inputs * outputs for (inputs, outputs), count in layers.items()),
        LAYERS * sum(count * inputs for (inputs, _), count in layers.items()),
        LAYERS * sum(count * (inputs + outputs) for (inputs, outputs), count in layers.items()),
    )


@pytest.fixture
def model(tiny_config):
    return AutoModelForCausalLM.from_config(tiny_config())


def test_floors_are_those_of_the_formula(floors, model):
    numbers, inputs, widths = count_base()
    found = floors.find_floor(model, tokens=10, rank=3, top_k=2, num_used=5, num_scored=7, num_logits=1)
    head = VOCABULARY * WIDTH
    assert found.work == pytest.approx(1 + (7 * inputs + 2 * 3 * widths) / (numbers + head / 10))
    assert found.size == pytest.approx(1 + (7 * inputs + 5 * 3 * widths) / (numbers + head))


def test_by_name_no_expert_is_scored_and_each_is_read(floors, model):
    numbers, _, widths = count_base()
    sizes = floors.Sizes(batch=4, prompt=8, steps=1)
    prefill, decode = floors.find_floors(model, sizes, rank=3, top_k=1, experts=4, has_router=False)
    plain = numbers + VOCABULARY * WIDTH
    assert prefill.work == pytest.approx(1 + 3 * widths / plain)
    assert decode.size == pytest.approx(1 + 4 * 3 * widths / plain)


@pytest.mark.parametrize(("experts", "top_k", "tokens"), [(8, 8, 1), (16, 4, 1), (12, 3, 5)])
def test_experts_in_use_are_those_that_chance_gives(floors, experts, top_k, tokens):
    scores = torch.rand(4000, tokens, experts, generator=torch.Generator().manual_seed(0))
    used = torch.zeros(4000, experts).scatter_(1, scores.topk(top_k).indices.flatten(1), 1.0)
    assert floors.expect_used(experts, top_k, tokens) == pytest.approx(used.sum(1).mean().item(), rel=0.01)


def test_without_a_gpu_its_benchmark_counts_what_is_least(floors, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, which takes minutes")
    from bench.command import main

    main(["gpu"])
    told = capsys.readouterr()
    assert "no CUDA device" in told.err
    # A layer's scores, its experts and its own; 32 of them and a head.
    least = 1 + 32 * (256 * 23_040 + 4 * 16 * 46_080) / (32 * 78_643_200 + 51_200 * 2_560)
    assert f"Phi-2       Arrow top-4           {least:.2f}" in told.out
