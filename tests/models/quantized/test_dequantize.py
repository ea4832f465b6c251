import copy
import re
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from lorary.errors import IncompatibleExpert
from lorary.experts.parts.whole import WholePart
from lorary.models import attach_experts, fold, save_folded
from lorary.models.quantized.dequantize import dequantize
from lorary.models.quantized.packed_layers import list_packed, unpack_weight


def test_folding_gives_a_plain_model_that_answers_as_the_attached_expert(
    quantized, make_expert, compute_logits
):
    expert = make_expert(quantized.model)
    stack = attach_experts(quantized.model, {"poetry": expert})
    with stack.assign(["poetry"] * 3):
        expected = compute_logits(quantized.model)
    stack.detach()
    with pytest.warns(UserWarning, match="folding dequantises"):
        folded = fold(quantized.model, expert)
    # 8-bit layers of bitsandbytes round their inputs too.
    tolerance = 0.3 if quantized.quantization == "8bit" else 1e-4
    torch.testing.assert_close(compute_logits(folded), expected, rtol=tolerance, atol=tolerance)
    assert list_packed(quantized.model) and not list_packed(folded)
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.float32}


def test_dequantised_layers_have_the_values_of_the_quantised_ones(quantized):
    plain = copy.deepcopy(quantized.model)
    found = dequantize(plain)
    assert set(found) == set(list_packed(quantized.model))
    for path, layer in found.items():
        weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
        torch.testing.assert_close(weight, unpack_weight(quantized.model.get_submodule(path)).float())
        assert (layer.bias is None) == (quantized.model.get_submodule(path).bias is None)
    assert dequantize(plain) == {}


def test_the_error_of_rounding_is_told_relative_to_the_experts_change(load_quantized, make_expert):
    base = load_quantized("4bit")
    expert = make_expert(base.model, targets=["q_proj"])
    with pytest.warns(UserWarning, match="folding dequantises") as caught:
        folded = fold(base.model, expert, torch.bfloat16)
    (message,) = {str(warning.message) for warning in caught}
    told = re.search(
        r"bfloat16 loses (\S+) of the expert's change \(relative norm; at most (\S+) in", message
    )
    lost = changed = 0.0
    for path, (a, b) in expert.factors.items():
        exact = unpack_weight(base.model.get_submodule(path)) + b @ a
        lost += float((folded.get_submodule(path).weight.float() - exact).square().sum())
        changed += float((b @ a).square().sum())
    assert float(told[1]) == pytest.approx((lost / changed) ** 0.5, rel=0.05)
    assert float(told[2]) >= float(told[1]) > 0
    assert "dequantises 14 layers" in message and "fold into the base model in full precision" in message


def test_a_folded_folder_is_read_by_transformers_without_the_package(
    load_quantized, make_expert, compute_logits, tmp_path
):
    base = load_quantized("4bit", "gpt2")
    expert = make_expert(base.model).with_base(base.name)
    stack = attach_experts(base.model, {"poetry": expert})
    with stack.assign(["poetry"] * 3):
        expected = compute_logits(base.model)
    stack.detach()
    with pytest.warns(UserWarning, match="folding dequantises"):
        save_folded(base, expert, tmp_path / "folded")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "folded")
    torch.testing.assert_close(compute_logits(model), expected, rtol=1e-4, atol=1e-4)
    assert not hasattr(model.config, "quantization_config")
    assert not list_packed(model) and model.dtype == torch.float32


def test_a_trained_weight_cannot_replace_a_quantised_one(load_quantized, make_expert):
    base = load_quantized("4bit")
    path = "model.layers.0.mlp.up_proj"
    part = WholePart(weight=torch.zeros(48, 32), bias=None, is_copy=False)
    expert = replace(make_expert(base.model, targets=["q_proj"]), parts={path: (part,)})
    with pytest.raises(
        IncompatibleExpert, match="has quantised weights, which a trained weight cannot replace"
    ):
        attach_experts(base.model, {"poetry": expert})


def test_weights_that_bitsandbytes_rearranged_are_read_in_their_order(load_quantized):
    """A layer of this package rearranges its weights where the processor has AVX512-BF16."""
    pytest.importorskip("bitsandbytes")
    from bitsandbytes import nn as bnb_nn
    from bitsandbytes.functional import _convert_weight_packed_for_cpu

    layer = bnb_nn.Linear4bit(128, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.weight.data = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    layer = layer.to("cpu").eval()
    before = unpack_weight(layer)
    layer.weight.data, layer.weight.quant_state = _convert_weight_packed_for_cpu(
        layer.weight.data, layer.weight.quant_state
    )
    # Each block of 64 inputs has a scale, which is now a bfloat16.
    torch.testing.assert_close(unpack_weight(layer), before, rtol=2**-8, atol=0)
    assert layer.weight.quant_state.packing_format_for_cpu  # the layer itself is as it was


def test_no_layer_of_a_loaded_model_rearranges_its_weights(load_quantized, compute_logits):
    model = load_quantized("4bit").model
    layers = list_packed(model).values()
    before = [layer.weight.data.clone() for layer in layers]
    compute_logits(model)
    for layer, values in zip(layers, before, strict=True):
        assert layer.support_avx512bf16_for_cpu is False
        assert torch.equal(layer.weight.data, values)
