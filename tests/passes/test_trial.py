import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lorary.passes.trial import Tried, try_model


def test_models_that_heed_masks_and_positions_are_exact_in_every_layout(family, build_base):
    assert try_model(build_base(family)) == Tried(masked=True, packed=True, padded=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_trial_allows_for_rounding(build_base, dtype):
    assert try_model(build_base("llama").to(dtype)) == Tried(masked=True, packed=True, padded=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.slow
def test_a_real_model_is_exact_in_every_precision(embedded_model, dtype):
    """Rounding of 30 layers was taken for influence in half precision, and on some processors in float32."""
    model = copy.deepcopy(embedded_model.model).to(dtype)
    assert try_model(model) == Tried(masked=True, packed=True, padded=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_that_are_counted_from_the_beginning_of_the_row_are_found(dtype):
    """In bfloat16 the small positions of a random model stayed within the allowance for rounding."""
    config = AutoConfig.for_model("openai-gpt", vocab_size=96, n_positions=64, n_embd=32, n_layer=1, n_head=4)
    model = AutoModelForCausalLM.from_config(config).eval().to(dtype)
    forward = model.forward
    model.forward = lambda input_ids, position_ids=None, **inputs: forward(input_ids, **inputs)
    assert not try_model(model).packed


def test_eager_attention_heeds_masks(build_base):
    model = build_base("llama")
    model.set_attn_implementation("eager")
    assert try_model(model).masked


def test_a_model_that_keeps_a_state_from_left_to_right_is_padded():
    config = AutoConfig.for_model("mamba", vocab_size=96, hidden_size=32, num_hidden_layers=1, state_size=4)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert try_model(model) == Tried(masked=False, packed=False, padded=True)


def test_a_model_that_reads_no_beginnings_from_positions_needs_masks():
    config = AutoConfig.for_model(
        "opt",
        vocab_size=96,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    assert try_model(model) == Tried(masked=True, packed=False, padded=True)


def test_small_weights_hide_no_leak(build_base):
    model = build_base("llama", initializer_range=0.001)
    forward = model.forward

    def see_everything(input_ids, position_ids=None, attention_mask=None, **inputs):
        return forward(input_ids, torch.ones_like(input_ids), position_ids, **inputs)

    model.forward = see_everything
    assert try_model(model) == Tried(masked=False, packed=False, padded=True)


def test_what_was_found_is_kept_for_the_model(build_base, monkeypatch):
    model = build_base("llama")
    found = try_model(model)
    monkeypatch.setattr(model, "forward", None)
    assert try_model(model) is found


def test_the_trial_leaves_the_model_as_it_was(build_base):
    model = build_base("llama").requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try_model(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
