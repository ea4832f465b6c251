from dataclasses import fields

import pytest
import torch

from lorary.data import TokenizedExample
from lorary.errors import TrainingError, UnknownExpert
from lorary.experts import Factors
from lorary.models import attach_experts, fold
from lorary.training import LorahubConfig, search_weights
from lorary.transforms import merge

NAMES = ["poetry", "sql", "law"]
CONFIG = LorahubConfig(num_steps=30, tokens_per_pass=40, row_length=16)


@pytest.fixture
def examples(make_examples):
    return make_examples(3, num_train=5).train


def test_the_loss_is_that_of_the_merged_expert(base, experts, stack, examples, compute_loss):
    found = search_weights(stack, NAMES, examples, CONFIG)
    assert found.loss < found.base_loss
    stack.detach()
    assert found.base_loss == pytest.approx(compute_loss(base.model, examples).item(), abs=1e-5)
    merged = merge(experts, "linear", weights=found.weights, rank="full")
    folded = fold(base.model, merged)
    assert found.loss == pytest.approx(compute_loss(folded, examples).item(), abs=1e-4)


def test_weights_keep_their_limit_and_the_same_seed_finds_the_same(stack, examples):
    config = LorahubConfig(num_steps=20, limit=0.25, seed=3)
    found = search_weights(stack, NAMES, examples, config)
    assert list(found.weights) == NAMES
    assert all(abs(weight) <= 0.25 for weight in found.weights.values())
    assert search_weights(stack, NAMES, examples, config) == found


def test_a_great_penalty_leaves_the_base_model(stack, examples):
    found = search_weights(stack, NAMES, examples, LorahubConfig(num_steps=8, penalty=1e6))
    assert set(found.weights.values()) == {0.0}
    assert found.loss == found.base_loss


def test_experts_are_drawn_where_there_are_many(stack, examples):
    drawn = [
        tuple(
            search_weights(stack, NAMES, examples, LorahubConfig(num_experts=2, num_steps=1, seed=s)).weights
        )
        for s in range(8)
    ]
    assert {len(names) for names in drawn} == {2}
    assert len(set(drawn)) > 1
    everyone = search_weights(stack, NAMES, examples, LorahubConfig(num_experts=None, num_steps=1))
    assert list(everyone.weights) == NAMES


def test_progress_tells_the_least_loss_so_far(stack, examples):
    seen = []
    found = search_weights(
        stack,
        NAMES,
        examples,
        LorahubConfig(num_steps=12, penalty=0),
        on_step=lambda step, loss: seen.append((step, loss)),
    )
    assert [step for step, _ in seen] == list(range(1, 13))
    losses = [loss for _, loss in seen]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == found.loss


def test_the_model_is_left_as_it_was(stack, examples):
    ids = torch.tensor([[4, 5, 6]])
    before = stack.model(input_ids=ids).logits
    search_weights(stack, NAMES, examples, LorahubConfig(num_steps=3))
    assert torch.equal(stack.model(input_ids=ids).logits, before)


@pytest.mark.parametrize(
    "options",
    [
        {"num_experts": 0},
        {"num_steps": 0},
        {"limit": 0},
        {"limit": float("inf")},
        {"penalty": -1},
        {"row_length": 0},
        {"tokens_per_pass": 0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LorahubConfig(**options)


def test_bad_calls_are_refused(stack, examples, base):
    with pytest.raises(ValueError, match="at least one example and one expert"):
        search_weights(stack, NAMES, [])
    with pytest.raises(ValueError, match="at least one example and one expert"):
        search_weights(stack, [], examples)
    with pytest.raises(UnknownExpert):
        search_weights(stack, ["zzz"], examples)
    with torch.no_grad():
        next(base.model.parameters()).fill_(float("nan"))
    with pytest.raises(
        TrainingError, match="loss of the base model on these examples must be finite, found nan"
    ):
        search_weights(stack, NAMES, examples)


@pytest.mark.parametrize("value", ["8", [8], True, float("nan"), float("inf"), "x" * 10**6])
@pytest.mark.parametrize("name", [field.name for field in fields(LorahubConfig)])
def test_a_setting_of_a_wrong_type_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"search for weights: {name} must ") as error:
        LorahubConfig(**{name: value})
    assert len(str(error.value)) < 200


def test_an_expert_named_twice_is_refused(stack, examples):
    """Guards a bug: its weight was that of one of its two places."""
    with pytest.raises(ValueError, match=r"must differ, found \['sql', 'law', 'sql'\]"):
        search_weights(stack, ["sql", "law", "sql"], examples)


def test_examples_that_the_model_cannot_read_are_refused(stack, examples):
    for example in (TokenizedExample((3,), ()), TokenizedExample((), (3,)), TokenizedExample((3,), (999,))):
        with pytest.raises(ValueError, match="the new task, example 5: "):
            search_weights(stack, NAMES, [*examples, example])


def test_weights_whose_loss_is_not_finite_are_never_the_best(build_base, make_expert, examples):
    base = build_base()
    expert = make_expert(base.model, "wild", 0)
    huge = {path: Factors(a * 1e25, b * 1e25) for path, (a, b) in expert.factors.items()}
    stack = attach_experts(base.model, {"wild": type(expert)("wild", "org/tiny-llama", huge)})
    found = search_weights(stack, ["wild"], examples, LorahubConfig(num_steps=6))
    assert found.weights == {"wild": 0.0} and found.loss == found.base_loss
