import pytest
import torch

from lorary.data.tokens import TokenizedExample
from lorary.errors import UnknownExpert
from lorary.evaluation.route_experts import RouteExperts, decide_prompts, name_experts, plan_cells, plan_rows
from lorary.passes.packing import pack_sequences
from lorary.routing import CalibratedConfig

OWN = {"dates": "dates", "morse": "morse"}
PROMPTS = [(5, 6, 7, 8), (5, 6, 7, 20), (9,), (5, 6), (10, 11, 12), (5, 6, 7, 8), (5, 6, 7, 8, 40, 41, 42)]
SEQUENCES = [TokenizedExample((5, 6, 7), (8, 9)), TokenizedExample((10, 11), (12,))]
DECISIONS = (((2, 0), (0.25, 0.5)), ((1, 2), (1.0, -0.5)))


@pytest.fixture
def routed(model):
    options = CalibratedConfig(top_k=3, temperature=0.1, generic=("Some text.", "Another one, 1 2 3."))
    model.set_router("calibrated", options)
    return model


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("tokens_per_pass", [1, 8, 100])
@pytest.mark.parametrize("row_length", [5, 64])
def test_decisions_are_those_of_each_prompt_alone(routed, share, tokens_per_pass, row_length):
    found = decide_prompts(
        routed, PROMPTS, tokens_per_pass=tokens_per_pass, row_length=row_length, share=share
    )
    assert found.by_prompt.keys() == set(PROMPTS)
    for prompt in PROMPTS:
        ((places, shares),) = found.find(["any"], [prompt])
        indices, weights = routed.decider.decide(torch.tensor([prompt]))
        assert places == tuple(indices[0].tolist())
        torch.testing.assert_close(torch.tensor(shares), weights[0], atol=1e-4, rtol=1e-4)


def test_sharing_saves_cells(routed, monkeypatch):
    widths = []
    forward = type(routed.model).forward

    def count(self, **inputs):
        widths.append(inputs["input_ids"].numel())
        return forward(self, **inputs)

    monkeypatch.setattr(type(routed.model), "forward", count)
    for share in (False, True):
        decide_prompts(routed, PROMPTS, tokens_per_pass=100, row_length=64, share=share)
    assert widths == [21, 12]


def test_tasks_are_decided_by_their_experts_names(model):
    found = name_experts(model, {"dates": "random", "morse": "dates"})
    decided = found.find(["morse", "dates", "morse"], [(5,)] * 3)
    assert [model.stack.names[place] for (place,), _ in decided] == ["dates", "random", "dates"]
    with pytest.raises(UnknownExpert, match="'date': did you mean 'dates'"):
        name_experts(model, {"dates": "date"})


def test_without_decisions_nothing_is_planned(model):
    batch = pack_sequences(SEQUENCES, 16)
    assert RouteExperts().find(["dates"], [(5,)]) is None
    with plan_cells(model, None, batch), plan_rows(model, None):
        assert model.stack.context.active is model.stack.context.default


@pytest.mark.parametrize("decisions", [DECISIONS, None], ids=["several experts", "own experts"])
def test_a_packed_batch_is_planned_as_each_sequence_alone(model, decisions):
    tasks = list(OWN)
    decided = decisions or name_experts(model, OWN).find(tasks, [(), ()])
    batch = pack_sequences(SEQUENCES, 16)
    with torch.no_grad():
        with plan_cells(model, decided, batch):
            packed = model(**batch.model_inputs()).logits
        for owner, sequence in enumerate(SEQUENCES):
            ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids[:-1]]])
            with plan_rows(model, decided[owner : owner + 1]):
                alone = model(input_ids=ids).logits[0]
            torch.testing.assert_close(packed[batch.owner == owner], alone, atol=1e-4, rtol=1e-4)


def test_a_batch_of_prompts_goes_the_ways_decided(model):
    ids = torch.randint(1, 200, (2, 5), generator=torch.Generator().manual_seed(0))
    decided = name_experts(model, OWN).find(["morse", "dates"], [(), ()])
    with torch.no_grad():
        with plan_rows(model, decided):
            found = model(input_ids=ids).logits
        with model.assign(["morse", "dates"]):
            assert torch.equal(found, model(input_ids=ids).logits)
        with plan_rows(model, None):
            assert not torch.allclose(model(input_ids=ids).logits, found)
