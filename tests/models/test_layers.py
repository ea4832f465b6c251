import time

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lorary.errors import IncompatibleExpert
from lorary.models import find_layers, layer_shape
from lorary.models.layers import add_to_weight, is_base_layer


def test_the_shape_of_a_layer_is_input_then_output():
    assert layer_shape(nn.Linear(3, 5)) == (3, 5)
    assert layer_shape(Conv1D(5, 3)) == (3, 5)


@pytest.mark.parametrize("layer", [nn.Linear(4, 4), nn.Linear(3, 5), Conv1D(4, 4), Conv1D(5, 3)], ids=repr)
def test_a_change_added_to_a_weight_is_a_change_of_the_output(layer):
    width_in, width_out = layer_shape(layer)
    change, x = torch.randn(width_out, width_in), torch.randn(2, width_in)
    expected = layer(x) + x @ change.T
    add_to_weight(layer, change)
    torch.testing.assert_close(layer(x), expected)


def test_a_sum_is_rounded_once_to_the_weights_dtype():
    layer = nn.Linear(4, 4).bfloat16()
    before, change = layer.weight.detach().clone(), torch.randn(4, 4)
    add_to_weight(layer, change)
    assert torch.equal(layer.weight, (before.float() + change).bfloat16())


def test_all_linear_is_every_layer_but_the_output(family, build_base):
    model = build_base(family)
    found = find_layers(model, "all-linear")
    expected = {path: module for path, module in model.named_modules() if is_base_layer(module)}
    output = {path for path, module in expected.items() if module is model.get_output_embeddings()}
    assert len(output) == 1 and list(found) == [path for path in expected if path not in output]


def test_a_list_means_path_endings_at_a_dot(llama):
    assert set(find_layers(llama, ["q_proj", "layers.1.mlp.up_proj"])) == {
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    }
    with pytest.raises(IncompatibleExpert):
        find_layers(llama, ["proj"])


def test_a_string_is_a_regular_expression_over_whole_paths(llama):
    assert list(find_layers(llama, r".*\.1\..*[qk]_proj")) == [
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.k_proj",
    ]
    with pytest.raises(IncompatibleExpert):
        find_layers(llama, "q_proj")


def test_targets_that_match_nothing_are_refused_with_what_there_is(llama):
    message = r"must match a layer of LlamaForCausalLM, found \['c_attn'\]: its layers end in \['down_proj', "
    with pytest.raises(IncompatibleExpert, match=message):
        find_layers(llama, ["c_attn"])


def test_quantised_weights_are_refused():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(IncompatibleExpert, match=r"found a quantised Linear: load .* without quantisation"):
        add_to_weight(layer, torch.zeros(4, 4))


@pytest.mark.parametrize(
    "pattern", [r"(a|a)*b", r"(\w+)*\d{1}", r"(.*)*x", "(.*.*)*=", "[", "a{99999}{99999}", "x" * 3000]
)
def test_a_pattern_that_is_none_or_takes_too_long_is_refused(build_base, pattern):
    """Guards a bug: Python's own engine tried for years."""
    model = build_base("llama")
    model.model.layers[0].self_attn.add_module("a" * 60, nn.Linear(2, 2))
    begun = time.monotonic()
    with pytest.raises((ValueError, IncompatibleExpert)) as caught:
        find_layers(model, pattern)
    assert time.monotonic() - begun < 3 and len(str(caught.value)) < 1000
