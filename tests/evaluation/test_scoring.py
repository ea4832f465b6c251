import pytest
import torch

from lorary.data.tokens import TokenizedExample
from lorary.evaluation import Route
from lorary.evaluation.items import Item
from lorary.evaluation.route_experts import RouteExperts
from lorary.evaluation.scoring import generate_answers, score_targets
from lorary.passes.layout import Layout
from lorary.routing import CalibratedConfig

ROUTES = [
    Route(name="base"),
    Route(name="uniform", router="uniform"),
    Route(name="arrow", router="arrow", combine="factors"),
    Route(name="oracle", expert_of={"dates": "dates", "morse": "morse"}),
    Route(
        name="calibrated",
        router="calibrated",
        options=CalibratedConfig(top_k=2, temperature=0.1, generic=("Some text.", "Another one, 1 2 3.")),
        combine="factors",
    ),
]


@pytest.fixture
def items(model):
    texts = [
        ("dates", "day 3", " 2024"),
        ("morse", "q", " --.-"),
        ("dates", "a longer day 25", " no"),
        ("morse", "e", "."),
        ("dates", "day 3", " 2025"),
        ("morse", "a longer day 25", " no"),
    ]
    encode = model.tokenizer
    return [
        Item(
            task, TokenizedExample(tuple(encode(prompt)["input_ids"]), tuple(encode(target)["input_ids"])), 4
        )
        for task, prompt, target in texts
    ]


def prepare(model, route, items, layout=Layout.PACKED):
    prompts = [item.tokens.prompt_ids for item in items]
    return route.prepare(model, prompts, layout, tokens_per_pass=100, row_length=32)


@torch.no_grad()
def score_alone(model, route, item):
    """The sum as transformers computes it: one sequence, labels on the target only, decided alone."""
    prompt, target = item.tokens.prompt_ids, item.tokens.target_ids
    inputs = {
        "input_ids": torch.tensor([[*prompt, *target]]),
        "labels": torch.tensor([[*[-100] * len(prompt), *target]]),
    }
    with model.stack.choosing(prepare(model, route, [item]).choose_for([item])):
        return float(model.model(**inputs).loss) * len(target)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
@pytest.mark.parametrize("tokens_per_pass", [2000, 20, 1])
@pytest.mark.parametrize("layout", [each for each in Layout if not each.is_encoded])
def test_sums_are_those_of_each_sequence_alone(model, items, route, tokens_per_pass, layout):
    reported = []
    found = score_targets(
        prepare(model, route, items, layout),
        items,
        layout,
        tokens_per_pass=tokens_per_pass,
        row_length=32,
        report=reported.append,
    )
    expected = [score_alone(model, route, item) for item in items]
    torch.testing.assert_close(
        torch.tensor([each.loss for each in found]), torch.tensor(expected), atol=1e-3, rtol=1e-4
    )
    assert sum(reported) == sum(len(item.tokens) for item in items)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_answers_are_those_of_each_prompt_alone(model, items, route):
    reported = []
    experts = prepare(model, route, items)
    found = generate_answers(model, experts, items, batch_size=3, report=reported.append)
    alone = [
        generate_answers(model, experts, [item], batch_size=1, report=lambda n: None)[0] for item in items
    ]
    assert found == alone
    assert any(found)
    assert sum(reported) == 4 * len(items)


def test_who_chooses_by_default_makes_no_difference(model, items):
    experts = prepare(model, ROUTES[0], items)
    before = generate_answers(model, experts, items, batch_size=9, report=lambda n: None)
    with model.routed("uniform"):
        assert generate_answers(model, experts, items, batch_size=9, report=lambda n: None) == before


def test_items_with_different_limits_are_not_answered_together(model, items):
    short = Item("dates", items[0].tokens, 1)
    experts = RouteExperts(stack=model.stack)
    found = generate_answers(model, experts, [items[0], short], batch_size=8, report=lambda n: None)
    assert found[0].startswith(found[1]) or found[1] == "\ufffd"
    assert len(model.tokenizer(found[1])["input_ids"]) < len(model.tokenizer(found[0])["input_ids"])


def test_nothing_to_score_is_no_work(model):
    def refuse(amount):
        raise AssertionError("there was nothing to do")

    nobody = RouteExperts(stack=model.stack)
    sizes = {"tokens_per_pass": 9, "row_length": 9}
    assert score_targets(nobody, [], Layout.SHARED, **sizes, report=refuse) == []
    assert generate_answers(model, nobody, [], batch_size=9, report=refuse) == []
