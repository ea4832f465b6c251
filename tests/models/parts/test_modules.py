"""Parts on the modules of a model that differ from linear layers and embeddings, and parts that share one."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.embedding import EmbeddingPart
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.tokens import TokensPart
from lorary.experts.parts.whole import WholePart
from lorary.models import attach_experts, fold, save_folded, wrap_base
from lorary.models.fit_paths import fit_paths
from lorary.models.parts.expert_module import ExpertModule
from lorary.models.parts.layer_view import LayerView
from lorary.models.parts.placed_parts import PlacedParts
from lorary.models.plan import Plan
from lorary.models.routing_context import Call, RoutingContext
from tests.encoder_decoders import build_model, build_tokenizer
from tests.mixtures import build_mixture, load_with_peft
from tests.models.parts.adapters import save

WORDS, UP = "model.embed_tokens", "model.layers.0.mlp.up_proj"
IDS = torch.tensor([[5, 9, 2, 7], [8, 1, 1, 3]])


@torch.no_grad()
def run(model):
    return model(IDS, use_cache=False).logits


def wrap(base, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        return peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**settings)).eval()


@pytest.mark.parametrize("model_type", ["mixtral", "gpt_oss"])
def test_a_trained_gate_of_a_mixture_is_used_as_peft_uses_it(model_type, tmp_path):
    base = build_mixture(model_type)
    name = "gate" if model_type == "mixtral" else "router"
    model = wrap(base, r=2, target_modules=["q_proj"], modules_to_save=[name], task_type="CAUSAL_LM")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter)
    expert = read_peft(save(model, tmp_path / "poetry"))
    expected, alone = run(load_with_peft(base, tmp_path / "poetry")), run(base)
    torch.testing.assert_close(run(fold(base, expert)), expected, rtol=1e-4, atol=1e-4)
    gates = {path: own for path, own in expert.parts.items() if path.endswith(name)}
    only_gates = replace(expert, name="gates", factors={}, parts=gates)
    expected_gates = run(fold(base, only_gates))
    assert gates and not torch.allclose(expected_gates, alone, atol=1e-4)
    stack = attach_experts(base, {"poetry": expert, "gates": only_gates})
    with stack.assign(["poetry", None]):
        found = run(base)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], alone[1], rtol=1e-4, atol=1e-4)
    with stack.assign(["gates", "poetry"]):
        found = run(base)
    torch.testing.assert_close(found[0], expected_gates[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)


TOKENS = TokensPart(torch.ones(2, 16), (3, 1))
DORA, IA3 = DoraPart(torch.ones(24)), Ia3Part(torch.ones(24), False)
SPARSE = SparsePart(torch.ones(2), torch.tensor([[0, 1], [1, 0]]))


@pytest.mark.parametrize(
    ("path", "parts", "has_factors", "message"),
    [
        (
            WORDS,
            (TOKENS, EmbeddingPart(torch.ones(2, 64), torch.ones(16, 2))),
            False,
            "tokens and LoRA on emb",
        ),
        (
            WORDS,
            (TOKENS, WholePart(weight=torch.ones(64, 16), is_copy=True)),
            False,
            "tokens and trained wei",
        ),
        (UP, (IA3,), True, "IA3 scales and low-rank factors"),
        (UP, (DORA, SPARSE), True, "sparse change and DoRA"),
        (UP, (DORA, WholePart(weight=torch.ones(24, 16))), True, "trained weight and DoRA"),
    ],
)
def test_parts_whose_order_would_matter_are_not_on_one_module(
    build_tiny_base, path, parts, has_factors, message
):
    base = build_tiny_base().model
    factors = {path: Factors(torch.ones(1, 16), torch.ones(24, 1))} if has_factors else {}
    expert = Expert("poetry", "", factors, parts={path: parts})
    for use in (lambda: fold(base, expert), lambda: attach_experts(base, {"poetry": expert})):
        with pytest.raises(IncompatibleExpert, match=message):
            use()


def test_tiny_trained_biases_are_not_taken_for_those_of_the_base_model(build_base, input_ids, compute_logits):
    base = build_base("gpt2")
    path = "transformer.h.0.mlp.c_fc"
    bias = base.get_submodule(path).bias
    with torch.no_grad():
        bias.zero_()
    part = WholePart(bias=torch.full_like(bias, 5e-5))
    folded = fold(base, Expert("poetry", "", {}, parts={path: (part,)}))
    assert torch.equal(folded.get_submodule(path).bias, part.bias)


class GatedNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x, gate=None):
        return x * self.weight * (1 if gate is None else gate)


def test_arguments_by_name_reach_a_module_with_other_weights():
    base, x, gate = GatedNorm(), torch.randn(2, 3, 4), torch.rand(2, 3, 4)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    change = WholePart(weight=weight).place(LayerView(base), None).change
    context = RoutingContext()
    context.default = Call(Plan(torch.tensor([[0], [0]]), torch.tensor([[1.0], [0.0]]), 1))
    module = ExpertModule(base, PlacedParts({0: [change]}), context, "norm")
    found = module(x, gate=gate)
    torch.testing.assert_close(found[0], (x * weight * gate)[0])
    torch.testing.assert_close(found[1], (x * gate)[1])


def test_experts_of_one_file_keep_their_own_parts_when_modules_are_renamed(build_tiny_base, tmp_path):
    base = build_tiny_base().model
    path = f"model.language_model.{UP.removeprefix('model.')}"
    pair = Factors(torch.ones(1, 16), torch.ones(24, 1))
    write_peft(Expert("poetry", "", {path: pair}, parts={path: (DORA,)}), tmp_path / "poetry")
    whole = read_peft(tmp_path / "poetry")
    bare = replace(whole, name="bare", parts={})
    norm = replace(
        whole, name="norm", parts={"model.language_model.norm": (WholePart(weight=torch.ones(16)),)}
    )
    with pytest.warns(UserWarning, match="trained on another class"):
        fitted = fit_paths(base, {"norm": norm, "whole": whole, "bare": bare})
    assert fitted["norm"].paths == [UP, "model.norm"]
    assert fitted["whole"].kinds == ["dora"] and fitted["bare"].kinds == []


@torch.no_grad()
def test_trained_tokens_of_an_encoder_and_a_decoder_are_folded_as_peft_has_them(tmp_path):
    base, inputs = build_model("t5"), {"input_ids": IDS, "decoder_input_ids": IDS.flip(1)}
    model = wrap(base, target_modules=["q"], trainable_token_indices={"shared": [5, 8, 3]})
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += torch.randn_like(parameter)
    expert = read_peft(save(model, tmp_path / "poetry"))
    expected = model(**inputs).logits
    torch.testing.assert_close(fold(base, expert)(**inputs).logits, expected, rtol=1e-4, atol=1e-4)
    save_folded(wrap_base(base, build_tokenizer("t5")), expert, tmp_path / "folded")
    again = type(base).from_pretrained(tmp_path / "folded").eval()
    torch.testing.assert_close(again(**inputs).logits, expected, rtol=1e-4, atol=1e-4)
