import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from lorary.models import attach_experts
from lorary.models.capture import capture_inputs


@pytest.fixture
def stack(llama, make_expert):
    return attach_experts(llama, {"poetry": make_expert(llama)})


@pytest.fixture
def mask():
    return torch.rand(3, 7, generator=torch.Generator().manual_seed(1)) > 0.4


def capture(stack, mask, input_ids):
    seen = {}
    with torch.no_grad(), capture_inputs(stack, mask, seen.__setitem__):
        stack.model(input_ids=input_ids, use_cache=False)
    return seen


def test_wanted_tokens_are_those_a_plain_hook_sees(stack, mask, input_ids):
    inputs = {}
    for path, layer in stack.layers.items():
        layer.base.register_forward_pre_hook(lambda _, given, path=path: inputs.setdefault(path, given[0]))
    seen = capture(stack, mask, input_ids)
    assert set(seen) == set(stack.layers)
    for path, found in seen.items():
        expected = torch.stack([inputs[path][row, place] for row, place in mask.nonzero().tolist()])
        assert torch.equal(found, expected)


def test_layers_that_get_the_tokens_of_all_sequences_in_one_row_are_captured(make_expert, mask, input_ids):
    """Regression: OPT was refused, so the default router could not be built on it."""
    config = OPTConfig(
        vocab_size=128,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = OPTForCausalLM(config).eval()
    stack = attach_experts(model, {"poetry": make_expert(model)})
    inputs = {}
    for path, layer in stack.layers.items():
        layer.base.register_forward_pre_hook(lambda _, given, path=path: inputs.setdefault(path, given[0]))
    seen = capture(stack, mask, input_ids)
    assert any(x.dim() == 2 for x in inputs.values())
    for path, found in seen.items():
        assert torch.equal(found, inputs[path].flatten(0, -2)[mask.flatten()])


def test_what_the_experts_do_shows_in_later_layers(stack, mask, input_ids):
    bare = capture(stack, mask, input_ids)
    with stack.assign(["poetry"] * 3):
        routed = capture(stack, mask, input_ids)
    first, *_, last = stack.layers
    assert torch.equal(routed[first], bare[first])
    assert not torch.allclose(routed[last], bare[last])


def test_a_mask_without_tokens_gives_none(stack, input_ids):
    seen = capture(stack, torch.zeros(3, 7, dtype=torch.bool), input_ids)
    assert {tuple(found.shape) for found in seen.values()} == {(0, 32), (0, 48)}


def test_after_the_context_nothing_is_captured(stack, mask, input_ids):
    seen = []
    with pytest.raises(ZeroDivisionError), capture_inputs(stack, mask, lambda path, x: seen.append(path)):
        1 / 0  # noqa: B018
    stack.model(input_ids=input_ids)
    assert seen == []


def test_tokens_are_cut_off_from_gradients(stack, mask, input_ids):
    next(iter(stack.layers.values())).b_t.requires_grad_()
    seen = {}
    with stack.assign(["poetry"] * 3), capture_inputs(stack, mask, seen.__setitem__):
        stack.model(input_ids=input_ids)
    assert not any(found.requires_grad for found in seen.values())


def test_a_mask_for_another_batch_is_refused(stack, mask, input_ids):
    with (
        pytest.raises(ValueError, match=r"found \(3, 7\) \(sequences, tokens\), but .* has inputs \(2, 7\)"),
        capture_inputs(stack, mask, lambda path, x: None),
    ):
        stack.model(input_ids=input_ids[:2])
