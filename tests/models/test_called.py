import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors
from lorary.models import attach_experts, find_layers, fold, layer_shape
from lorary.models.called import find_unfit_layers
from lorary.models.grow import insert_expert
from tests.architectures import tiny_config


def build(model_type):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(model_type)).eval()


def make_expert(model, path, name="poetry"):
    width_in, width_out = layer_shape(model.get_submodule(path))
    return Expert(name, "base", {path: Factors(torch.ones(1, width_in), torch.ones(width_out, 1))})


def test_every_layer_of_an_ordinary_model_is_fit(family, build_base):
    assert find_unfit_layers(build_base(family)) == {}


@pytest.mark.parametrize(
    ("model_type", "ending", "reason"),
    [
        ("mamba", "dt_proj", "its weight is read without a call"),
        ("falcon_mamba", "dt_proj", "its weight is read without a call"),
        ("llama4_text", "router", "returns several tensors"),
        ("phimoe", "router", "returns several tensors"),
        ("bart", "encoder_attn.k_proj", "it is not called for text"),
    ],
)
def test_layers_that_cannot_carry_experts_are_left_out_of_all_linear(model_type, ending, reason):
    model = build(model_type)
    unfit = find_unfit_layers(model)
    (path, *_) = [path for path in unfit if path.endswith(ending)]
    assert reason in unfit[path]
    assert path not in find_layers(model, "all-linear")


def test_an_expert_of_such_a_layer_is_refused_by_name():
    model = build("mamba")
    path = "backbone.layers.0.mixer.dt_proj"
    expert = make_expert(model, path)
    message = (
        r"expert 'poetry' changes layers of this MambaForCausalLM that cannot have experts "
        rf"\({path}: it is not called for text.*: fold it into the base model"
    )
    with pytest.raises(IncompatibleExpert, match=message):
        attach_experts(model, {"poetry": expert})
    fold(model, expert)
    stack = attach_experts(model, {"sql": make_expert(model, "backbone.layers.0.mixer.in_proj", "sql")})
    with pytest.raises(IncompatibleExpert, match=message):
        insert_expert(stack, expert, 1)


def test_a_target_of_such_layers_alone_is_refused():
    message = "'dt_proj' match only layers of MambaForCausalLM that cannot have experts, such as"
    with pytest.raises(IncompatibleExpert, match=message):
        find_layers(build("mamba"), ["in_proj", "dt_proj"])


class Shuffled(nn.Module):
    """Gives its layer the tokens in the order of their first number, as a mixture of experts sorts them."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        flat = x.flatten(0, 1)
        order = flat[:, 0].argsort()
        return torch.empty_like(self.layer(flat)).index_copy(0, order, self.layer(flat[order])).view_as(x)


class Flat(Shuffled):
    """Gives its layer the tokens of the whole batch, in their order."""

    def forward(self, x):
        return self.layer(x.flatten(0, 1)).view_as(x)


@pytest.mark.parametrize(("wrapper", "is_fit"), [(Shuffled, False), (Flat, True)])
def test_layers_are_fit_if_the_order_of_tokens_is_kept(build_base, wrapper, is_fit):
    model = build_base("llama")
    attention = model.model.layers[1].self_attn
    attention.o_proj = wrapper(attention.o_proj)
    path = "model.layers.1.self_attn.o_proj.layer"
    assert (path not in find_unfit_layers(model)) is is_fit
    assert len(find_unfit_layers(model)) == (0 if is_fit else 1)


def test_the_trial_leaves_the_model_as_it_was(build_base):
    model = build_base("llama")
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    find_unfit_layers(model)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_what_was_found_is_kept_for_the_model(build_base, monkeypatch):
    model = build_base("llama")
    found = find_unfit_layers(model)
    monkeypatch.setattr(model, "forward", None)
    assert find_unfit_layers(model) is found
