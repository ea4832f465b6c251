"""Soft prompts in passes."""

import pytest
import torch

from lorary.data import TokenizedExample
from lorary.models import attach_experts
from lorary.passes import find_layout, score_pass, split_passes
from lorary.passes.layout import Layout
from tests.models.soft_prompts.cases import IDS, run, run_peft

pytestmark = pytest.mark.filterwarnings("ignore:expert .* routers do not choose it")


def test_passes_have_the_losses_of_each_sequence_alone(base, everyone):
    models, experts = everyone
    sequences = [
        TokenizedExample((5, 6, 7), (9, 10)),
        TokenizedExample((5, 6), (11, 12, 13)),
        TokenizedExample((20,), (21,)),
    ]
    stack = attach_experts(base, {name: experts[name] for name in ("prompt", "prefix")})
    plan = stack.plan(torch.tensor([[0], [1], [0]]), torch.tensor([[1.0], [1.0], [0.0]]))
    layout = find_layout(stack, 5, 12)
    assert layout is Layout.PADDED
    for way in (layout, Layout.ALONE):
        found = [[], [], []]
        for part in split_passes(sequences, [0, 1, 2], way, tokens_per_pass=40, row_length=12):
            for index, loss in zip(part.sequence.tolist(), score_pass(stack, part, plan), strict=True):
                found[index].append(loss)
        for losses, name, sequence in zip(found, ("prompt", "prefix", None), sequences, strict=True):
            ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids]])
            logits = run(base, ids) if name is None else run_peft(models[name], ids)
            scores = logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
            expected = -scores[len(sequence.prompt_ids) - 1 :]
            torch.testing.assert_close(torch.stack(losses), expected, rtol=1e-4, atol=1e-4)


def test_several_requests_in_a_row_are_refused(base, everyone, plain):
    _, experts = everyone
    stack = attach_experts(base, {**experts, "plain": plain})
    rows = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    for index, is_refused in ((stack.index("prompt"), True), (stack.index("plain"), False)):
        with stack.planned(torch.tensor([[index], [index]]), torch.ones(2, 1), rows=rows):
            if is_refused:
                with pytest.raises(ValueError, match="a row with a soft prompt must be one request"):
                    run(base, IDS[:1])
            else:
                run(base, IDS[:1])


def test_rows_of_tokens_of_one_request_are_taken(base, everyone):
    models, experts = everyone
    stack = attach_experts(base, experts)
    rows = torch.tensor([[1] * 7, [0] * 7])
    plan = torch.tensor([[stack.index("prompt")], [stack.index("prefix")]])
    with stack.planned(plan, torch.ones(2, 1), rows=rows):
        found = run(base, IDS[:2])
    torch.testing.assert_close(found[0], run_peft(models["prefix"])[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], run_peft(models["prompt"])[1], rtol=1e-4, atol=1e-4)
