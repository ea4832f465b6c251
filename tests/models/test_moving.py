"""Every tensor of a moved model is that of a loaded one."""

import warnings
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from lorary.experts import Expert, Factors
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.soft_prompt import SoftPromptPart
from lorary.experts.parts.whole import WholePart
from lorary.models import attach_experts
from lorary.models.moving import moved
from tests.architectures import tiny_config
from tests.encoder_decoders import build_model


def draw_one(model, paths):
    torch.manual_seed(1)
    factors = {}
    for path in paths:
        layer = dict(model.named_modules())[path]
        factors[path] = Factors(torch.randn(2, layer.in_features), torch.randn(layer.out_features, 2))
    return Expert("one", "tiny", factors)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("gemma3_text", "model.layers.0.self_attn.q_proj"),
        ("mamba", "backbone.layers.0.mixer.in_proj"),
        ("deepseek_v3", "model.layers.0.self_attn.o_proj"),
        ("t5", "decoder.block.0.layer.0.SelfAttention.q"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtypes_and_values_are_those_of_a_loaded_model(kind, path, dtype, tmp_path):
    """Some tensors stay float32: rotary frequencies, T5's ``wo`` in float16, biases of DeepSeek's gate."""
    loader = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        made = build_model() if kind == "t5" else loader.from_config(tiny_config(kind))
        made.save_pretrained(tmp_path)
        model, loaded = (loader.from_pretrained(tmp_path, dtype=each) for each in (torch.float32, dtype))
    stack = attach_experts(model, {"one": draw_one(model, [path])})
    before = torch.get_rng_state()
    with moved(stack, None, dtype) as stack:
        pass
    assert torch.equal(torch.get_rng_state(), before)
    assert stack.layers[path].a.dtype == stack.layers[path].base.weight.dtype
    stack.detach()
    found, expected = (
        {**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (model, loaded)
    )
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, expected[name]), name


@torch.no_grad()
def test_sub_layers_of_mixtures_follow():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny_config("mixtral")).eval()
    attention = "model.layers.0.self_attn.q_proj"
    sub = "model.layers.0.mlp.experts.down_proj[1]"
    expert = draw_one(model, [attention])
    rows, columns = model.get_submodule("model.layers.0.mlp.experts").down_proj.shape[1:]
    more = {sub: Factors(torch.randn(2, columns), torch.randn(rows, 2))}
    expert = Expert("one", "tiny", {**expert.factors, **more})
    stack = attach_experts(model, {"one": expert})
    with moved(stack, None, torch.bfloat16) as stack:
        pass
    assert stack.layers[sub].a.dtype == stack.layers[sub].weight.dtype == torch.bfloat16
    with stack.assign(["one"]):
        assert model(torch.tensor([[5, 6, 7]])).logits.dtype == torch.bfloat16


@pytest.fixture
def mixed(build_tiny_base):
    """A model with experts of low-rank factors, of DoRA with a soft prompt, and with a norm of its own."""
    base = build_tiny_base()
    path = "model.layers.0.self_attn.q_proj"
    plain = draw_one(base.model, [path])
    generator = torch.Generator().manual_seed(3)

    def draw(*size):
        return torch.rand(size, generator=generator) + 0.5

    dora = replace(
        plain, name="dora", parts={path: (DoraPart(draw(16)),), "": (SoftPromptPart(draw(2, 16)),)}
    )
    norm = replace(plain, name="norm", factors={}, parts={"model.norm": (WholePart(weight=draw(16)),)})
    stack = attach_experts(base.model, {"one": plain, "dora": dora, "norm": norm})
    ids = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13], [5, 6, 7]])

    @torch.no_grad()
    def read(stack):
        with stack.assign(["one", "dora", "norm", None]):
            return base.model(ids).logits

    return stack, read


def test_parts_and_soft_prompts_belong_to_the_new_stack(mixed):
    stack, read = mixed
    expected = read(stack)
    with moved(stack, torch.device("cpu"), None) as found:
        assert torch.equal(read(found), expected)
    assert found is not stack and torch.equal(read(found), expected)
    assert found.soft_prompts.prompts and not stack.soft_prompts.prompts


def test_after_an_error_parts_and_soft_prompts_are_as_they_were(mixed):
    stack, read = mixed
    expected = read(stack)
    with pytest.raises(KeyboardInterrupt), moved(stack, torch.device("cpu"), None):
        raise KeyboardInterrupt
    assert torch.equal(read(stack), expected)


def test_a_change_of_dtype_of_parts_is_refused(mixed):
    with (
        ExitStack() as opened,
        pytest.raises(ValueError, match="'dora' has DoRA magnitudes and a soft prompt"),
    ):
        opened.enter_context(moved(mixed[0], None, torch.float16))


def test_a_model_that_cannot_be_made_in_a_dtype_is_refused(build_tiny_base, monkeypatch):
    base = build_tiny_base()
    expert = draw_one(base.model, ["model.layers.0.self_attn.q_proj"])
    stack = attach_experts(base.model, {"one": expert})

    def fail(*given, **named):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(type(base.model), "_from_config", fail)
    message = r"this LlamaForCausalLM cannot be changed to torch.float16 \(no such kernel\): load it with"
    with ExitStack() as opened, pytest.raises(ValueError, match=message):
        opened.enter_context(moved(stack, None, torch.float16))
    assert base.model.dtype == torch.float32


def test_a_model_on_several_devices_is_refused(build_tiny_base):
    base = build_tiny_base()
    expert = draw_one(base.model, ["model.layers.0.self_attn.q_proj"])
    stack = attach_experts(base.model, {"one": expert})
    base.model.model.norm.to("meta")
    message = "only a model on one device can be moved, this one is on cpu, meta: load its base model"
    with ExitStack() as opened, pytest.raises(ValueError, match=message):
        opened.enter_context(moved(stack, torch.device("cpu"), None))
