import pytest
import torch

from lorary.data.tokens import TokenizedExample
from lorary.errors import UnknownExpert
from lorary.evaluation.items import Item
from lorary.evaluation.route_experts import RouteExperts, decide_prompts, name_experts
from lorary.passes import split_passes
from lorary.passes.layout import Layout

OWN = {"dates": "dates", "morse": "morse"}
PROMPTS = [(5, 6, 7, 8), (5, 6, 7, 20), (9,), (5, 6), (10, 11, 12), (5, 6, 7, 8), (5, 6, 7, 8, 40, 41, 42)]
ITEMS = [Item("dates", TokenizedExample((5, 6, 7), (8, 9))), Item("morse", TokenizedExample((10, 11), (12,)))]
KNOWN = (((2, 0), (0.25, 0.5)), ((1, 2), (1.0, -0.5)))


@pytest.fixture
def router(model):
    generic = ("Some text.", "Another one, 1 2 3.")
    return model.router("calibrated", combine="factors", top_k=3, temperature=0.1, generic=generic)


@pytest.mark.parametrize("layout", [each for each in Layout if not each.is_encoded])
@pytest.mark.parametrize("tokens_per_pass", [1, 8, 100])
@pytest.mark.parametrize("row_length", [5, 64])
def test_experts_are_those_decided_for_each_prompt_alone(model, router, layout, tokens_per_pass, row_length):
    found = decide_prompts(
        model, router, PROMPTS, layout, tokens_per_pass=tokens_per_pass, row_length=row_length
    )
    assert found.by_prompt.keys() == set(PROMPTS)
    assert found.combine == "factors"
    for prompt in PROMPTS:
        places, shares = found.find(Item("any", TokenizedExample(prompt, ())))
        indices, weights = router.decider.decide(torch.tensor([prompt]))
        assert places == tuple(indices[0].tolist())
        torch.testing.assert_close(torch.tensor(shares), weights[0], atol=1e-4, rtol=1e-4)


def test_sharing_saves_cells(model, router, monkeypatch):
    widths = []
    forward = type(model.model).forward

    def count(self, **inputs):
        widths.append(inputs["input_ids"].numel())
        return forward(self, **inputs)

    monkeypatch.setattr(type(model.model), "forward", count)
    for layout in (Layout.PACKED, Layout.SHARED):
        decide_prompts(model, router, PROMPTS, layout, tokens_per_pass=100, row_length=64)
    assert widths == [21, 12]


def test_tasks_are_answered_by_the_experts_named(model):
    found = name_experts(model, {"dates": "random", "morse": "dates"})
    decided = [found.find(Item(task, ITEMS[0].tokens)) for task in ("morse", "dates", "morse")]
    assert [model.stack.names[place] for (place,), _ in decided] == ["dates", "random", "dates"]
    with pytest.raises(UnknownExpert, match="'date': did you mean 'dates'"):
        name_experts(model, {"dates": "date"})


def test_without_known_experts_the_router_chooses_or_nobody(model):
    router = model.router("uniform")
    assert RouteExperts(stack=model.stack).group(ITEMS) == (None, [0, 1])
    assert RouteExperts(stack=model.stack, router=router).group(ITEMS) == (router, [0, 1])
    assert RouteExperts(stack=model.stack, router=router).find(ITEMS[0]) is None


def test_items_of_one_task_and_the_same_experts_are_one_request(model):
    experts = RouteExperts(stack=model.stack, by_prompt={(1,): KNOWN[0], (2,): KNOWN[1], (3,): KNOWN[0]})
    items = [
        Item(task, TokenizedExample(prompt, (9,)))
        for task, prompt in (("a", (1,)), ("a", (2,)), ("a", (3,)), ("b", (1,)))
    ]
    chooser, requests = experts.group(items)
    assert requests == [0, 1, 0, 2]
    choice = chooser.choose("any", torch.zeros(3, 1), torch.tensor([0, 1, 2]))
    assert choice.indices.tolist() == [[2, 0], [1, 2], [2, 0]]
    assert choice.weights.tolist() == [[0.25, 0.5], [1.0, -0.5], [0.25, 0.5]]


@pytest.mark.parametrize("several", [True, False], ids=["several experts", "own experts"])
@pytest.mark.parametrize("layout", [each for each in Layout if not each.is_encoded])
def test_a_pass_comes_out_as_each_sequence_alone(model, several, layout):
    known = {item.tokens.prompt_ids: found for item, found in zip(ITEMS, KNOWN, strict=True)}
    experts = RouteExperts(stack=model.stack, by_prompt=known) if several else name_experts(model, OWN)
    chooser, requests = experts.group(ITEMS)
    sequences = [item.tokens for item in ITEMS]
    with torch.no_grad():
        for part in split_passes(sequences, requests, layout, tokens_per_pass=100, row_length=16):
            with model.stack.choosing(chooser, rows=part.rows):
                packed = model.model(**part.batch.model_inputs()).logits
            for place, index in enumerate(part.members.tolist()):
                ids = torch.tensor([[*sequences[index].prompt_ids, *sequences[index].target_ids[:-1]]])
                with model.stack.choosing(experts.choose_for([ITEMS[index]])):
                    alone = model.model(input_ids=ids).logits[0]
                torch.testing.assert_close(packed[part.batch.owner == place], alone, atol=1e-4, rtol=1e-4)


def test_a_batch_of_prompts_is_answered_by_the_experts_of_each(model):
    ids = torch.randint(1, 200, (2, 5), generator=torch.Generator().manual_seed(0))
    chooser = name_experts(model, OWN).choose_for(ITEMS[::-1])
    with torch.no_grad():
        with model.stack.choosing(chooser):
            found = model.model(input_ids=ids).logits
        with model.assign(["morse", "dates"]):
            assert torch.equal(found, model(input_ids=ids).logits)
        assert not torch.allclose(model(input_ids=ids).logits, found)
