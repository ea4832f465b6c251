import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lorary.models import can_share_prefixes


def test_models_that_heed_a_mask_may_share(family, build_base):
    assert can_share_prefixes(build_base(family), 32)


def test_a_model_may_share_in_half_precision(build_base):
    assert can_share_prefixes(build_base("llama").bfloat16(), 32)


def test_eager_attention_may_share(build_base):
    model = build_base("llama")
    model.set_attn_implementation("eager")
    assert can_share_prefixes(model, 32)


def test_a_model_that_keeps_a_state_from_left_to_right_may_not():
    config = AutoConfig.for_model("mamba", vocab_size=96, hidden_size=32, num_hidden_layers=1, state_size=4)
    assert not can_share_prefixes(AutoModelForCausalLM.from_config(config).eval(), 32)


@pytest.mark.parametrize(("window", "expected"), [(32, True), (31, False), (None, True)])
def test_a_window_shorter_than_a_sequence_forbids_it(build_base, window, expected):
    model = build_base("mistral", sliding_window=window)
    assert can_share_prefixes(model, 32) is expected


def test_a_model_that_ignores_the_mask_may_not(build_base, monkeypatch):
    model = build_base("llama")
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda attention_mask, **inputs: forward(**inputs))
    assert not can_share_prefixes(model, 32)


def test_the_trial_leaves_no_gradient(build_base):
    model = build_base("llama")
    model.requires_grad_(True)
    can_share_prefixes(model, 32)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
