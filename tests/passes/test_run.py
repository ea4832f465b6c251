"""Passes in every layout, against each sequence alone on a model with its expert folded in."""

import pytest
import torch

from lorary.data import TokenizedExample
from lorary.models import attach_experts, fold
from lorary.models.capture import capture_inputs
from lorary.passes import score_pass, split_passes
from lorary.passes.layout import Layout
from lorary.passes.split import read_whole

SEQUENCES = [
    TokenizedExample((5, 6, 7, 8), (9, 10)),
    TokenizedExample((5, 6, 7), (11, 12, 13)),
    TokenizedExample((20, 21), (22,)),
    TokenizedExample((5, 6, 7, 8), (9, 14)),
    TokenizedExample((30, 31, 32, 33, 34), (35, 36)),
]
# Request 0 has the first expert, request 1 the second, request 2 none.
REQUESTS = [0, 0, 1, 1, 2]
CAUSAL_LAYOUTS = [layout for layout in Layout if not layout.is_encoded]
SIZES = {"tokens_per_pass": 12, "row_length": 10}


@pytest.fixture
def experts(llama, make_expert):
    return {name: make_expert(llama, name, seed=seed) for seed, name in enumerate(["poetry", "sql"])}


@pytest.fixture
def losses_alone(llama, experts):
    """Each sequence's target losses, computed by the model that it belongs to."""
    models = [fold(llama, expert) for expert in experts.values()] + [llama]
    found = []
    for sequence, request in zip(SEQUENCES, REQUESTS, strict=True):
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
        logits = models[request](input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        losses = -logits.gather(1, ids[0, 1:, None]).squeeze(1)
        found.append(losses[len(sequence.prompt_ids) - 1 :])
    return found


@pytest.mark.parametrize("layout", CAUSAL_LAYOUTS)
def test_losses_are_those_of_each_sequence_alone(llama, experts, losses_alone, layout):
    stack = attach_experts(llama, experts)
    plan = stack.plan(torch.tensor([[0], [1], [0]]), torch.tensor([[1.0], [1.0], [0.0]]))
    found = [[] for _ in SEQUENCES]
    for part in split_passes(SEQUENCES, REQUESTS, layout, **SIZES):
        for index, loss in zip(part.sequence.tolist(), score_pass(stack, part, plan), strict=True):
            found[index].append(loss)
    for losses, alone in zip(found, losses_alone, strict=True):
        torch.testing.assert_close(torch.stack(losses), alone)


@pytest.mark.parametrize("layout", CAUSAL_LAYOUTS)
def test_gradients_reach_only_the_experts_in_use(llama, experts, layout):
    stack = attach_experts(llama, experts)
    layer = next(iter(stack.layers.values()))
    layer.b_t.requires_grad_()
    plan = stack.plan(torch.tensor([[1], [1], [1]]), torch.ones(3, 1))
    for part in split_passes(SEQUENCES, REQUESTS, layout, **SIZES):
        score_pass(stack, part, plan).sum().backward()
    assert [bool(part.any()) for part in layer.b_t.grad] == [False, True]


@pytest.mark.parametrize("layout", CAUSAL_LAYOUTS)
def test_passes_hold_every_sequence_once_and_keep_their_size(layout):
    parts = list(split_passes(SEQUENCES, REQUESTS, layout, **SIZES))
    assert sorted(index for part in parts for index in part.members.tolist()) == list(range(len(SEQUENCES)))
    assert all((part.rows >= 0).sum() <= SIZES["tokens_per_pass"] for part in parts)
    for part in parts:
        rows = part.rows.flatten()[part.batch.positions]
        assert rows.tolist() == [REQUESTS[index] for index in part.sequence]


@pytest.mark.parametrize("layout", CAUSAL_LAYOUTS)
def test_whole_prompts_can_be_read_by_hooks(llama, experts, layout):
    stack = attach_experts(llama, experts)
    path = list(stack.layers)[-1]
    prompts = [(5, 6, 7), (5, 6, 8, 9), (10,)]
    alone = [_read(stack, path, [prompt], Layout.ALONE)[0] for prompt in prompts]
    for found, expected in zip(_read(stack, path, prompts, layout), alone, strict=True):
        torch.testing.assert_close(found, expected)


def _read(stack, path, prompts, layout):
    found = {}
    sequences = [read_whole(prompt) for prompt in prompts]
    for part in split_passes(sequences, [0] * len(prompts), layout, **SIZES):
        seen = {}
        everything = torch.ones_like(part.batch.input_ids, dtype=torch.bool)
        with capture_inputs(stack, everything, seen.__setitem__):
            score_pass(stack, part, None)
        inputs = seen[path][part.batch.positions]
        for index in part.members.tolist():
            found[index] = inputs[part.sequence == index]
    return [found[index] for index in range(len(prompts))]
