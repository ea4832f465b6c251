import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors
from lorary.models import attach_experts
from lorary.models.check_expert import check_expert


def test_modules_that_the_model_lacks_are_refused_by_name_and_nothing_changes(llama, experts):
    pair = Factors(torch.zeros(1, 32), torch.zeros(32, 1))
    paths = ["model.embed_tokens", "model.layers.7.mlp", "a.q", "b.q", "c.q"]
    experts["alien"] = Expert("alien", "org/other", dict.fromkeys(paths, pair))
    message = (
        r"expert 'alien' \(trained on 'org/other'\) does not fit this LlamaForCausalLM: "
        r"model\.embed_tokens is not one of its linear layers; model\.layers\.7\.mlp is not one of its "
        r"linear layers; a\.q is not one of its linear layers; and 2 more\. Load it with its own base model"
    )
    before = [type(module) for module in llama.modules()]
    with pytest.raises(IncompatibleExpert, match=message):
        attach_experts(llama, experts)
    assert [type(module) for module in llama.modules()] == before


def test_a_layer_of_another_shape_is_refused_with_both_shapes(llama):
    path = "model.layers.0.mlp.up_proj"
    swapped = Expert("poetry", "", {path: Factors(torch.zeros(1, 48), torch.zeros(32, 1))})
    with pytest.raises(IncompatibleExpert, match=rf"{path} maps \(32, 48\), the expert \(48, 32\)"):
        check_expert(llama, swapped)
