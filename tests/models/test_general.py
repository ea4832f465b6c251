"""A general expert on other architectures: Conv1D layers, an encoder with a decoder, mixtures with gates."""

from dataclasses import replace

import pytest
import torch

from lorary.experts import Expert, ExpertCard, Factors, hash_weights
from lorary.models import attach_experts, find_layers, fold, layer_shape
from tests.encoder_decoders import build_model


def draw(model, name, rank, paths, **card):
    generator = torch.Generator().manual_seed(sum(name.encode()))
    factors = {}
    for path in paths:
        width_in, width_out = layer_shape(model.get_submodule(path))
        a = torch.randn(rank, width_in, generator=generator) * width_in**-0.5
        factors[path] = Factors(a, 0.3 * torch.randn(width_out, rank, generator=generator))
    return Expert(name, "tiny", factors, ExpertCard(**card))


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "phi", "t5"])
@torch.no_grad()
def test_experts_on_top_have_the_logits_of_folding_both(family, tiny_config):
    if family == "t5":
        build = build_model
    else:
        from transformers import AutoModelForCausalLM

        def build():
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(tiny_config(family)).eval()

    model = build()
    paths = list(find_layers(model, "all-linear"))
    general = draw(model, "common", 4, paths[::2])
    expert = draw(model, "sql", 2, paths[1:], on_top_of=hash_weights(general))
    plain = draw(model, "plain", 3, paths[:3])
    inputs = {"input_ids": torch.tensor([[5, 9, 31, 7]])}
    if family == "t5":
        inputs["decoder_input_ids"] = torch.tensor([[0, 4, 8]])
    wanted = [build(), fold(build(), general), fold(build(), expert, general=general), fold(build(), plain)]
    stack = attach_experts(model, {"sql": expert, "common": general, "plain": plain})
    for name, other in zip((None, "common", "sql", "plain"), wanted, strict=True):
        with stack.assign([name]):
            torch.testing.assert_close(model(**inputs).logits, other(**inputs).logits, atol=1e-4, rtol=1e-4)
    with stack.planned(torch.tensor([[0]]), torch.tensor([[0.0]]), general=torch.tensor([True])):
        torch.testing.assert_close(model(**inputs).logits, wanted[1](**inputs).logits, atol=1e-4, rtol=1e-4)
    assert stack.general == replace(stack.general, name="common", standing=frozenset({"sql"}))
