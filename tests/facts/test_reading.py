import pytest
import torch

from lorary.assembly import load_model
from lorary.facts.reading import read_averages, read_hidden
from lorary.facts.requests import pad_prompts
from lorary.routing.request import OUTPUT

PROMPTS = [[5, 6, 7, 8], [9], [10, 11, 12], [5, 6, 20]]


class Squares:
    """A router that looks at two places, and at squares of what is there."""

    def __init__(self, places, skips_first, last_share):
        self.places, self.skips_first, self.last_share = places, skips_first, last_share

    def describe(self, place, x):
        return x.square()[:, :4]


@pytest.fixture
def requests(model):
    return pad_prompts(PROMPTS, model.model.device)


@torch.no_grad()
def average_by_hand(bare, path, prompt, skips_first):
    """Read one prompt with the bare base model, and average what a plain hook sees."""
    seen = []
    module = bare.get_output_embeddings() if path == OUTPUT else bare.get_submodule(path)
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    bare(input_ids=torch.tensor([prompt]))
    handle.remove()
    (tokens,) = seen
    return tokens[1 if skips_first and len(prompt) > 1 else 0 :]


@pytest.mark.parametrize("last_share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("skips_first", [False, True])
def test_averages_are_those_of_each_prompt_read_by_the_base_alone(
    build_tiny_base, model, requests, skips_first, last_share
):
    first, *_, last = model.stack.layers
    router = Squares((first, last, OUTPUT), skips_first, last_share)
    found = read_averages(model.stack, router, requests)
    assert set(found) == set(router.places)
    bare = build_tiny_base().model
    for place, rows in found.items():
        for row, prompt in zip(rows, PROMPTS, strict=True):
            tokens = average_by_hand(bare, place, prompt, skips_first)
            squares = tokens.square()[:, :4]
            expected = (1 - last_share) * squares.mean(0) + last_share * squares[-1]
            torch.testing.assert_close(row, expected, atol=1e-4, rtol=1e-4)


def test_hidden_states_are_averaged_over_all_tokens(build_tiny_base, model, requests):
    found = read_hidden(model.stack, requests)
    bare = build_tiny_base().model
    for row, prompt in zip(found, PROMPTS, strict=True):
        expected = average_by_hand(bare, OUTPUT, prompt, skips_first=False).mean(0)
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=1e-4)


def test_experts_on_the_output_layer_change_nothing(build_tiny_base, draw_expert, requests, model):
    base = build_tiny_base()
    targets = ["lm_head", "q_proj"]
    other = load_model(base, {"wide": draw_expert(base, "wide", targets=targets)}, router="uniform")
    assert "lm_head" in other.stack.layers
    torch.testing.assert_close(read_hidden(other.stack, requests), read_hidden(model.stack, requests))


def test_reading_leaves_the_model_as_it_was(model, requests, input_ids):
    with torch.no_grad():
        before = model(input_ids=input_ids).logits
        read_hidden(model.stack, requests)
        assert torch.equal(model(input_ids=input_ids).logits, before)
    assert model.stack.context.active is model.stack.context.default
