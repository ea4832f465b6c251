from unittest.mock import Mock

import pytest
import torch
from transformers import pipeline

from lorary.assembly import load_model
from lorary.errors import UnknownExpert
from lorary.kernels.triton_modules import is_triton_for, load_triton
from lorary.models import fold
from lorary.routing import ArrowConfig
from lorary.routing.arrow import ArrowRouter
from lorary.routing.uniform import UniformRouter

PROMPT = "Sort these: pear, fig"


@torch.no_grad()
def continue_without_cache(model, ids, count):
    """Append the likeliest token, again and again, from full forward passes."""
    for _ in range(count):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
        ids = [*ids, int(logits[0, -1].argmax())]
    return ids


@pytest.mark.parametrize("combine", ["outputs", "factors"])
def test_generation_with_a_cache_goes_as_full_forward_passes(base, experts, combine):
    model = load_model(base, experts, router="arrow", top_k=2, combine=combine)
    ids = model.tokenizer(PROMPT)["input_ids"]
    expected = continue_without_cache(model, ids, 8)
    model.tokenizer.eos_token = None  # the reference never stops
    assert model.generate(PROMPT, max_new_tokens=8) == model.tokenizer.decode(expected[len(ids) :])


def test_routing_a_prefix_is_the_same_with_and_without_what_follows(model, input_ids):
    with torch.no_grad():
        whole = model(input_ids=input_ids).logits
        first = model(input_ids=input_ids[:, :5], use_cache=True)
        rest = model(input_ids=input_ids[:, 5:], past_key_values=first.past_key_values).logits
    torch.testing.assert_close(torch.cat([first.logits, rest], 1), whole, atol=1e-4, rtol=1e-4)


def test_prompts_of_a_batch_are_answered_as_alone(model):
    prompts = ["a", PROMPT, "plural of mouse"]
    alone = [model.generate(prompt, max_new_tokens=6) for prompt in prompts]
    assert model.generate(prompts, max_new_tokens=6) == alone


def test_token_ids_are_prompts_too(model):
    ids = model.tokenizer(PROMPT)["input_ids"]
    assert model.generate([ids], max_new_tokens=5) == [model.generate(PROMPT, max_new_tokens=5)]


def test_generation_ends_at_the_tokenizers_end_of_text(model):
    """Guards a bug: only the model's own configuration was asked, which may name no end at all.

    The end is in no answer, though the tokenizer may not mark it special.
    """
    assert model.model.generation_config.eos_token_id is None
    likeliest = continue_without_cache(model, model.tokenizer(PROMPT)["input_ids"], 1)[-1]
    assert model.generate(PROMPT, max_new_tokens=3)
    model.tokenizer.eos_token = model.tokenizer.convert_ids_to_tokens(likeliest)
    assert model.generate(PROMPT, max_new_tokens=3) == ""


def test_sampling_follows_the_seed(model):
    answers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        answers.append(model.generate(PROMPT, max_new_tokens=8, temperature=3.0))
    assert answers[0] == answers[1] != answers[2]


def test_a_seed_repeats_an_answer_and_leaves_the_generator_alone(model):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    answers = [model.generate(PROMPT, max_new_tokens=8, temperature=3.0, seed=seed) for seed in (0, 0, 1)]
    assert answers[0] == answers[1] != answers[2]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert model.generate(PROMPT, max_new_tokens=8, temperature=3.0) == answers[2]


def test_do_sample_and_top_k_are_those_of_transformers(model):
    greedy = model.generate(PROMPT, max_new_tokens=6)
    assert model.generate(PROMPT, max_new_tokens=6, temperature=3.0, do_sample=False) == greedy
    assert model.generate(PROMPT, max_new_tokens=6, do_sample=True, top_k=1) == greedy
    ids = torch.tensor([model.tokenizer(PROMPT)["input_ids"]])
    torch.manual_seed(2)
    options = {"do_sample": True, "temperature": 1.0, "top_k": 3, "top_p": 1.0}
    expected = model.model.generate(ids, max_new_tokens=6, pad_token_id=0, **options)[0, ids.shape[1] :]
    model.tokenizer.eos_token = None
    found = model.generate(PROMPT, max_new_tokens=6, do_sample=True, top_k=3, seed=2)
    assert found == model.tokenizer.decode(expected)
    with pytest.raises(ValueError, match="top_k must be at least 0, found -1"):
        model.generate(PROMPT, top_k=-1)


@torch.no_grad()
def test_a_routed_model_has_what_users_of_transformers_expect(model, input_ids):
    assert torch.equal(model(input_ids).logits, model(input_ids=input_ids).logits)
    assert model.config is model.model.config
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    model.model.train()
    assert model.eval() is model and not model.model.training
    assert model.to("cpu") is model.to(torch.float32) is model.to(model.device) is model


@pytest.mark.parametrize("router", ["arrow", "calibrated", "uniform"])
def test_a_pipeline_of_it_answers_as_it_does(model, router, caplog):
    model.set_router(router)
    model.tokenizer.eos_token = None
    made = pipeline("text-generation", model=model, tokenizer=model.tokenizer)
    (found,) = made(PROMPT, max_new_tokens=4, do_sample=False, return_full_text=False)
    assert found["generated_text"] == model.generate(PROMPT, max_new_tokens=4)
    assert "RoutedModel" in repr(made) and not caplog.records


def test_what_only_the_transformers_model_has_names_it(model):
    message = "RoutedModel has no attribute 'get_input_embeddings': the transformers model has it, and routes"
    with pytest.raises(AttributeError, match=message):
        model.get_input_embeddings()
    with pytest.raises(AttributeError, match=r"has no attribute 'no_such'$"):
        _ = model.no_such
    made = pipeline("text-generation", model=model.model, tokenizer=model.tokenizer)
    (found,) = made(PROMPT, max_new_tokens=4, do_sample=False, return_full_text=False)
    model.tokenizer.eos_token = None
    assert found["generated_text"] == model.generate(PROMPT, max_new_tokens=4)


def test_an_assigned_expert_answers_as_if_folded_into_the_base(build_tiny_base, experts, input_ids):
    model = load_model(build_tiny_base(), experts, router=None)
    with torch.no_grad():
        expected = fold(build_tiny_base().model, experts["prices"])(input_ids).logits
        bare = build_tiny_base().model(input_ids).logits
        with model.assign(["prices", None]):
            found = model(input_ids=input_ids).logits
    torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], bare[1])


def test_another_router_holds_only_within_its_context(model, input_ids):
    layers = model.stack.layers
    before = {path: layer.router for path, layer in layers.items()}
    routing = model.routing
    with torch.no_grad():
        expected = model(input_ids=input_ids).logits
        with model.routed("uniform"):
            assert all(isinstance(layer.router, UniformRouter) for layer in layers.values())
            assert not torch.allclose(model(input_ids=input_ids).logits, expected)
        with pytest.raises(ValueError, match="top_k"), model.routed("arrow", ArrowConfig(top_k=9)):
            pass
        with pytest.raises(ZeroDivisionError), model.routed(None, combine="outputs"):
            1 / 0  # noqa: B018
    assert {path: layer.router for path, layer in layers.items()} == before
    assert model.routing == routing


def test_arrow_without_options_keeps_no_more_experts_than_there_are(base, experts):
    """Guards a bug: the default of four was refused on a library of two."""
    model = load_model(base, {name: experts[name] for name in ("dates", "morse")}, router=None)
    model.set_router("arrow")
    assert {layer.router.top_k for layer in model.stack.layers.values()} == {2}


def test_routers_have_the_layers_dtype(build_tiny_base, experts):
    model = load_model(build_tiny_base(dtype=torch.bfloat16), experts, router="arrow")
    routers = [layer.router for layer in model.stack.layers.values()]
    assert all(isinstance(router, ArrowRouter) for router in routers)
    assert {router.prototypes.dtype for router in routers} == {torch.bfloat16}
    assert isinstance(model.generate(PROMPT, max_new_tokens=2), str)


@pytest.mark.parametrize("router", ["arrow", "uniform"])
def test_shares_sum_to_one_for_each_token_and_layer(model, router):
    with model.routed(router):
        found = model.explain(PROMPT)
    assert "".join(found.tokens) == PROMPT
    assert found.experts == model.names
    assert found.layers == tuple(model.stack.layers)
    assert found.weights.shape == (14, len(PROMPT), 5)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(14, len(PROMPT)))
    torch.testing.assert_close(found.shares_per_token().sum(-1), torch.ones(len(PROMPT)))
    torch.testing.assert_close(found.shares_per_layer().sum(-1), torch.ones(14))


def test_what_is_explained_is_what_the_router_chose(model):
    found = model.explain(PROMPT)
    path, layer = next(iter(model.stack.layers.items()))
    inputs = []
    handle = layer.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        model(input_ids=torch.tensor([model.tokenizer(PROMPT)["input_ids"]]))
    handle.remove()
    indices, weights = layer.router(inputs[0][0])
    spread = torch.zeros(len(PROMPT), 5).scatter_add(1, indices, weights)
    torch.testing.assert_close(found.weights[found.layers.index(path)], spread)
    assert (spread > 0).sum(1).tolist() == [3] * len(PROMPT)


@pytest.mark.parametrize("combine", ["outputs", "factors"])
def test_tritons_operators_answer_alike_where_they_are_asked_for(
    base, experts, input_ids, combine, monkeypatch
):
    if not is_triton_for(torch.zeros(1)):
        pytest.skip("needs Triton's interpreter")
    model = load_model(base, experts, router="arrow", top_k=2, combine=combine)
    with torch.no_grad():
        expected = model(input_ids=input_ids).logits
        monkeypatch.setenv("LORARY_KERNELS", "triton")
        operators = Mock(wraps=load_triton())
        monkeypatch.setattr("lorary.kernels.in_use.load_triton", lambda: operators)
        torch.testing.assert_close(model(input_ids=input_ids).logits, expected, atol=1e-4, rtol=1e-4)
    num_layers = len(model.stack.layers)
    assert operators.mix_rows.call_count == operators.choose_along.call_count == num_layers


def test_detaching_gives_the_base_back(model, build_tiny_base, input_ids):
    with torch.no_grad():
        found = model.detach().model(input_ids).logits
        assert torch.equal(found, build_tiny_base().model(input_ids).logits)


def test_without_a_router_there_is_nothing_to_explain(model):
    with model.routed(None), pytest.raises(ValueError, match="no router is set"):
        model.explain(PROMPT)
    with model.assign(["morse"]), pytest.raises(ValueError, match="experts are assigned by name"):
        model.explain(PROMPT)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ("", {}, "at least one token"),
        ([], {}, "at least one prompt"),
        (["fine", []], {}, "at least one token"),
        ("fine", {"temperature": -0.5}, "temperature must be at least 0, found -0.5"),
        ("fine", {"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ],
)
def test_bad_requests_are_refused(model, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(prompts, **options)


def test_an_unknown_expert_or_router_is_refused(model):
    with pytest.raises(UnknownExpert, match="'mors': did you mean 'morse'"), model.assign(["mors"]):
        pass
    with pytest.raises(ValueError, match="no router is named 'uniforn'"):
        model.set_router("uniforn")
    with pytest.raises(ValueError, match="combine must be one of"):
        model.set_router("uniform", combine="sum")
