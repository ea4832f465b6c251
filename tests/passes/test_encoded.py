"""Passes through an encoder and a decoder, against each example alone on a model with a folded expert."""

import pytest
import torch
from torch.nn import functional as F

from lorary.data import TokenizedExample
from lorary.errors import BaseModelError
from lorary.models import attach_experts, fold
from lorary.models.architecture import shift_right
from lorary.passes import find_layout, score_pass, split_passes
from lorary.passes.encoded import encode_sequences
from lorary.passes.encoded_trial import can_pad_encoded
from lorary.passes.layout import Layout
from tests.encoder_decoders import KINDS, build_model

SEQUENCES = [
    TokenizedExample((5, 6, 7, 8, 1), (9, 10, 1)),
    TokenizedExample((5, 6, 1), (11, 12, 13, 14, 1)),
    TokenizedExample((20, 1), (22,)),
    TokenizedExample((5, 6, 7, 8, 1), (9, 14, 1)),
    TokenizedExample((30, 31, 32, 33, 34, 35, 36, 1), (35, 1)),
]
# Request 0 has the first expert, request 1 the second, request 2 none.
REQUESTS = [0, 0, 1, 1, 2]


@pytest.fixture(params=KINDS)
def model(request):
    return build_model(request.param)


def compute_alone(model, sequence):
    """The losses of a target's tokens, by the labels that the model takes itself."""
    labels = torch.tensor([sequence.target_ids])
    output = model(input_ids=torch.tensor([sequence.prompt_ids]), labels=labels)
    losses = F.cross_entropy(output.logits[0], labels[0], reduction="none")
    torch.testing.assert_close(losses.mean(), output.loss)
    return losses


@pytest.mark.parametrize("layout", [Layout.ENCODED, Layout.ENCODED_ALONE])
@pytest.mark.parametrize("tokens_per_pass", [1, 20, 1000])
def test_losses_are_those_of_each_example_alone(model, make_expert, layout, tokens_per_pass):
    experts = {name: make_expert(model, name, seed=seed) for seed, name in enumerate(["poetry", "sql"])}
    models = [*(fold(model, expert) for expert in experts.values()), model]
    expected = [compute_alone(models[row], each) for each, row in zip(SEQUENCES, REQUESTS, strict=True)]
    stack = attach_experts(model, experts)
    plan = stack.plan(torch.tensor([[0], [1], [0]]), torch.tensor([[1.0], [1.0], [0.0]]))
    found = [[] for _ in SEQUENCES]
    sizes = {"tokens_per_pass": tokens_per_pass, "row_length": 10}
    for part in split_passes(SEQUENCES, REQUESTS, layout, **sizes):
        batch = part.batch
        assert len(batch.targets) == 1 or batch.input_ids.numel() + batch.targets.numel() <= tokens_per_pass
        for index, loss in zip(part.sequence.tolist(), score_pass(stack, part, plan), strict=True):
            found[index].append(loss)
    for losses, alone in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.stack(losses), alone, rtol=1e-4, atol=1e-4)


def test_padded_rows_are_found_exact_by_a_trial(model, make_expert):
    stack = attach_experts(model, {"sql": make_expert(model, "sql")})
    assert find_layout(stack, longest=20, row_length=64) is Layout.ENCODED


def test_a_model_whose_rows_influence_each_other_runs_them_alone(monkeypatch, make_expert):
    model = build_model("t5")
    stack = attach_experts(model, {"sql": make_expert(model, "sql")})
    plain = type(model).forward

    def forward(self, input_ids=None, **inputs):
        output = plain(self, input_ids=input_ids, **inputs)
        output.logits = output.logits + 0.1 * input_ids.float().mean()
        return output

    monkeypatch.setattr(type(model), "forward", forward)
    assert find_layout(stack, longest=20, row_length=64) is Layout.ENCODED_ALONE


def test_a_model_in_half_precision_is_padded_too():
    assert can_pad_encoded(build_model("t5").bfloat16())


def test_what_a_decoder_reads_follows_the_models_own_rule():
    batch = encode_sequences(SEQUENCES[:2])
    assert batch.targets.tolist() == [[9, 10, 1, -100, -100], [11, 12, 13, 14, 1]]
    t5, bart = build_model("t5"), build_model("bart")
    assert shift_right(t5, batch.targets).tolist() == [[0, 9, 10, 1, 0], [0, 11, 12, 13, 14]]
    assert shift_right(bart, batch.targets).tolist() == [[1, 9, 10, 1, 0], [1, 11, 12, 13, 14]]


class _WithoutRule:
    """A model that has no rule of its own."""

    def __init__(self, **config):
        self.config = type("Config", (), {"pad_token_id": None, "decoder_start_token_id": None, **config})


def test_a_model_without_a_rule_starts_by_its_configuration_or_is_refused():
    targets = torch.tensor([[9, -100, -100], [11, 12, 1]])
    assert shift_right(_WithoutRule(decoder_start_token_id=7), targets).tolist() == [[7, 9, 0], [7, 11, 12]]
    with pytest.raises(BaseModelError, match="must have a token that its decoder starts with: set decoder"):
        shift_right(_WithoutRule(), targets)


def test_an_example_without_a_target_is_refused():
    with pytest.raises(ValueError, match="each with a prompt and a target"):
        encode_sequences([TokenizedExample((5,), ())])
