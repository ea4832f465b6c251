"""Experts on quantised base models, beside PEFT."""

import warnings
from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model
from lorary.experts import write_peft
from lorary.experts.parts.dora import DoraPart
from lorary.models import attach_experts, find_layers
from lorary.models.attach import attach_slots
from lorary.models.quantized.packed_layers import list_packed
from lorary.passes import find_layout
from lorary.passes.layout import Layout


def load_with_peft(base, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import PeftModel

        return PeftModel.from_pretrained(base.model, folder, is_trainable=True).eval()


def test_an_expert_answers_and_learns_as_with_peft(
    quantized, make_expert, compute_logits, input_ids, tmp_path
):
    expert = make_expert(quantized.model)
    plain = compute_logits(quantized.model)
    stack = attach_experts(quantized.model, {"poetry": expert})
    assert {layer.a.dtype for layer in stack.layers.values()} == {torch.float32}
    with stack.assign(["poetry"] * 3):
        found = compute_logits(quantized.model)
    layers = list(stack.layers.items())
    for _, layer in layers:
        layer.a.requires_grad_()
        layer.b_t.requires_grad_()
    with stack.assign(["poetry"] * 3):
        quantized.model(input_ids=input_ids, use_cache=False).logits.square().mean().backward()
    gradients = {path: (layer.a.grad[0], layer.b_t.grad[0].T) for path, layer in layers}
    stack.detach()
    torch.testing.assert_close(compute_logits(quantized.model), plain)

    write_peft(expert, tmp_path / "adapter")
    wrapped = load_with_peft(quantized, tmp_path / "adapter")
    logits = wrapped(input_ids=input_ids, use_cache=False).logits
    assert not torch.allclose(logits, plain, atol=1e-2)
    torch.testing.assert_close(found, logits.detach(), rtol=1e-4, atol=1e-4)
    logits.square().mean().backward()
    for path, (a, b) in gradients.items():
        lora = wrapped.base_model.model.get_submodule(path)
        torch.testing.assert_close(a, lora.lora_A.default.weight.grad, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(b, lora.lora_B.default.weight.grad, rtol=1e-3, atol=1e-5)


def test_routed_requests_of_a_batch_answer_as_alone(quantized, make_expert):
    experts = {
        name: make_expert(quantized.model, name, seed=seed).with_base(quantized.name)
        for seed, name in enumerate("ab")
    }
    prompts = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14], [20, 21, 22]]
    model = load_model(quantized, experts, router="arrow")
    choices = ["auto", "a", None, {"a": 0.5, "b": 0.5}]
    together = model.generate(prompts, experts=choices, max_new_tokens=4)
    alone = [
        model.generate([prompt], experts=[choice], max_new_tokens=4)[0]
        for prompt, choice in zip(prompts, choices, strict=True)
    ]
    assert together == alone


def test_tokens_of_llm_int8_run_alone_since_outliers_are_chosen_for_the_batch(load_quantized, make_expert):
    layouts = {}
    for kind in ("8bit", "torchao-8bit"):
        base = load_quantized(kind)
        stack = attach_slots(base.model, find_layers(base.model, ["q_proj"]), 1, 2)
        layouts[kind] = find_layout(stack, 8, 64)
    assert layouts == {"8bit": Layout.ALONE, "torchao-8bit": Layout.SHARED}


def test_the_output_layer_and_embeddings_are_not_quantised(quantized):
    packed = list_packed(quantized.model)
    assert packed and quantized.model.get_output_embeddings() not in packed.values()
    assert set(packed) == set(find_layers(quantized.model, "all-linear"))


@pytest.mark.parametrize("kind", ["4bit", "torchao-8bit"])
def test_dora_takes_the_norms_of_dequantised_weights_as_peft_does(
    load_quantized, make_expert, compute_logits, input_ids, tmp_path, kind
):
    base = load_quantized(kind)
    expert = make_expert(base.model, targets=["q_proj", "down_proj"])
    parts = {
        path: (DoraPart(torch.linspace(0.5, 1.5, len(pair.b))),) for path, pair in expert.factors.items()
    }
    expert = replace(expert, parts=parts)
    stack = attach_experts(base.model, {"poetry": expert})
    with stack.assign(["poetry"] * 3):
        found = compute_logits(base.model)
    stack.detach()
    write_peft(expert, tmp_path / "adapter")
    expected = load_with_peft(base, tmp_path / "adapter")(input_ids=input_ids, use_cache=False).logits
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)
