import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors
from lorary.models import find_layers, fold, wrap_base
from lorary.models.layers import is_base_layer


def test_a_folded_layer_answers_as_layer_plus_product(family, build_base, make_expert):
    base = build_base(family)
    expert = make_expert(base)
    folded = fold(base, expert)
    for path, (a, b) in expert.factors.items():
        x = torch.randn(5, a.shape[1])
        expected = base.get_submodule(path)(x) + (x @ a.T) @ b.T
        torch.testing.assert_close(folded.get_submodule(path)(x), expected, rtol=1e-4, atol=1e-5)


def test_what_load_base_gives_is_folded_as_its_model(build_base, make_expert, compute_logits):
    model = build_base("llama")
    expert = make_expert(model)
    folded = fold(wrap_base(model), expert)
    assert type(folded) is type(model)
    torch.testing.assert_close(compute_logits(folded), compute_logits(fold(model, expert)))


def test_a_square_layer_is_not_changed_the_wrong_way_round(build_base):
    """A change of one asymmetric entry: output 2 gets input 5, and not the other way round."""
    base = build_base("gpt2")
    (path,) = find_layers(base, r"transformer\.h\.0\.attn\.c_proj")
    a, b = torch.zeros(1, 32), torch.zeros(32, 1)
    a[0, 5], b[2, 0] = 1, 7
    folded = fold(base, Expert("poetry", "", {path: Factors(a, b)}))
    x = torch.zeros(32)
    x[5] = 1
    change = folded.get_submodule(path)(x[None]) - base.get_submodule(path)(x[None])
    expected = torch.zeros(1, 32)
    expected[0, 2] = 7
    torch.testing.assert_close(change, expected)


def test_the_given_model_stays_as_it_was(family, build_base, make_expert, compute_logits):
    base = build_base(family)
    weights = {name: parameter.clone() for name, parameter in base.named_parameters()}
    folded = fold(base, make_expert(base))
    assert all(torch.equal(parameter, weights[name]) for name, parameter in base.named_parameters())
    assert not torch.allclose(compute_logits(folded), compute_logits(base), atol=1e-2)
    assert type(folded) is type(base)
    assert [type(module) for module in folded.modules()] == [type(module) for module in base.modules()]


def test_an_expert_on_the_output_layer_leaves_tied_embeddings_alone(
    build_base, make_expert, compute_logits, tmp_path
):
    """Guards a bug: the embeddings, which share the output layer's weight, were changed with it."""
    base = build_base("gpt2")
    expert = make_expert(base, targets=["lm_head"])
    folded = fold(base, expert)
    assert torch.equal(folded.get_input_embeddings().weight, base.get_input_embeddings().weight)
    a, b = expert.factors["lm_head"]
    hidden = base.transformer(torch.tensor([[5, 6, 7]])).last_hidden_state
    found = folded(torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(found, base.lm_head(hidden) + hidden @ a.T @ b.T, rtol=1e-4, atol=1e-4)
    folded.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(compute_logits(again), compute_logits(folded))


def test_a_bf16_model_stays_bf16(llama, make_expert):
    folded = fold(llama.bfloat16(), make_expert(llama))
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.bfloat16}


def test_an_expert_for_another_model_is_refused_by_its_modules(build_base, make_expert):
    expert = make_expert(build_base("gpt2"))
    message = (
        r"'poetry' \(trained on 'org/base'\) does not fit this LlamaForCausalLM: transformer\.h\.0\.\S+ is no"
    )
    with pytest.raises(IncompatibleExpert, match=message):
        fold(build_base("llama"), expert)


def test_a_model_that_is_quantised_in_an_unknown_way_is_refused(llama, make_expert):
    expert = make_expert(llama)
    for module in llama.modules():
        if is_base_layer(module):
            module.weight = nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(IncompatibleExpert, match=r"by bitsandbytes or torchao, found torch\.int8 in a Lin"):
        fold(llama, expert)
