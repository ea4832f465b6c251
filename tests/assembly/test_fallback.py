"""The calibrated router's doubtful part goes to the general expert, if the model has one."""

from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model
from lorary.experts import hash_weights
from lorary.facts.reading import read_averages
from lorary.facts.requests import pad_prompts
from lorary.routing import CalibratedConfig

OPTIONS = {"generic": ("Some text of no task.", "And another.", "One more, 12 words."), "top_k": 2}
# So wide a margin that no expert stands out.
DOUBT = {**OPTIONS, "margin": 1e9}


@pytest.fixture
def general(base, draw_expert):
    return draw_expert(base, "common", rank=5, role="general")


@torch.no_grad()
def answer(model, input_ids, experts="auto"):
    return model(input_ids=input_ids, experts=experts).logits


def test_in_full_doubt_the_general_expert_answers(base, experts, general, input_ids):
    model = load_model(base, experts, general=general, router="calibrated", **DOUBT)
    expected = answer(model, input_ids, "common")
    torch.testing.assert_close(answer(model, input_ids), expected, atol=1e-5, rtol=1e-5)
    found = model.explain("some text")
    assert found.experts == (*experts, "common")
    assert found.weights[..., -1].min() > 0.999


def test_what_is_not_trusted_goes_to_the_general_expert_and_no_more(base, experts, general, input_ids):
    model = load_model(base, experts, general=general, router="calibrated", most=0.6, margin=None, **OPTIONS)
    indices, weights = model.decider.decide(input_ids)
    assert indices.shape[1] == 3 and (indices[:, -1] == model.stack.index("common")).all()
    torch.testing.assert_close(weights[:, -1], torch.tensor([0.4, 0.4]))
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


@pytest.mark.parametrize("fallback", ["general", "all"])
def test_without_a_general_expert_all_share(base, experts, fallback):
    model = load_model(base, experts, router="calibrated", fallback=fallback, spread=1.5, **DOUBT)
    found = model.explain("some text")
    assert found.experts == tuple(experts)
    torch.testing.assert_close(found.weights, torch.full_like(found.weights, 1.5 / len(experts)))


def test_the_base_model_answers_if_it_is_the_fallback(base, experts, general, input_ids):
    model = load_model(base, experts, general=general, router="calibrated", fallback="base", **DOUBT)
    torch.testing.assert_close(answer(model, input_ids), answer(model, input_ids, None), atol=1e-5, rtol=1e-5)


def test_below_experts_that_stand_on_it_the_general_expert_is_left_alone(base, experts, general, input_ids):
    weights = hash_weights(general)
    on_top = {
        name: replace(each, card=replace(each.card, on_top_of=weights)) for name, each in experts.items()
    }
    model = load_model(base, on_top, general=general, router="calibrated", **DOUBT)
    expected = answer(model, input_ids, "common")
    torch.testing.assert_close(answer(model, input_ids), expected, atol=1e-5, rtol=1e-5)
    model.set_router("calibrated", replace(model.routing[1], fallback="all"))
    assert (answer(model, input_ids) - expected).abs().max() > 1e-3


def test_the_general_expert_stays_the_fallback_when_experts_are_added(base, experts, general, draw_expert):
    model = load_model(base, experts, general=general, router="calibrated", **DOUBT)
    model.add_expert(draw_expert(base, "late"))
    assert model.explain("some text").experts == (*experts, "late", "common")
    model.remove_expert("common")
    assert model.explain("some text").experts == (*experts, "late")


def test_a_part_of_the_layers_decides_and_the_others_are_not_run(base, experts):
    model = load_model(base, experts, router="calibrated", depth=0.5, **OPTIONS)
    router, paths = model.decider.router, list(model.stack.layers)
    assert router.places == tuple(paths[: len(paths) // 2])
    whole = model.router("calibrated", **OPTIONS).decider.router
    ids = model.tokenizer("plural of mouse")["input_ids"]
    seen = []
    last = model.stack.layers[paths[-1]]
    handle = last.register_forward_pre_hook(lambda *given: seen.append(1))
    requests = pad_prompts([ids], model.model.device)
    found = read_averages(model.stack, router, requests)
    assert not seen
    expected = read_averages(model.stack, whole, requests)
    assert seen
    handle.remove()
    assert found.keys() == set(router.places)
    for path, rows in found.items():
        torch.testing.assert_close(rows, expected[path])


def test_experts_are_decided_from_a_few_of_a_prompts_tokens(base, experts):
    model = load_model(base, experts, router="calibrated", most_tokens=2, **OPTIONS)
    router = model.decider.router
    measured, describe = [], router.describe
    router.describe = lambda place, x: measured.append(len(x)) or describe(place, x)
    prompts = [model.tokenizer(text)["input_ids"] for text in ("plural of mouse", "a much longer request")]
    found = read_averages(model.stack, router, pad_prompts(prompts, model.model.device))
    assert set(measured) == {4}
    for row, ids in enumerate(prompts):
        alone = read_averages(model.stack, router, pad_prompts([ids], model.model.device))
        for path, averages in found.items():
            torch.testing.assert_close(averages[row], alone[path][0])
    with pytest.raises(ValueError, match="most_tokens must be at least 1, or None for all, found 0"):
        CalibratedConfig(most_tokens=0)


@pytest.mark.parametrize("depth", [0.0, 1.5, -1.0])
def test_a_part_that_is_none_is_refused(depth):
    with pytest.raises(ValueError, match="depth must be above 0 and at most 1"):
        CalibratedConfig(depth=depth)
