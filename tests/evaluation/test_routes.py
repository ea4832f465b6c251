import pytest
import torch

from lorary.data.packing import pack_sequences
from lorary.data.tokens import TokenizedExample
from lorary.errors import UnknownExpert
from lorary.evaluation import Route, check_routes, find_routes, match_experts
from lorary.routing import ArrowConfig

OWN = {"dates": "dates", "morse": "morse"}


def test_names_become_routes(model):
    names = ["base", "uniform", "arrow", "oracle", "random", "expert:plurals"]
    arrow = ArrowConfig(top_k=2)
    routes = {route.name: route for route in find_routes(names, model, OWN, arrow=arrow, combine="outputs")}
    assert list(routes) == names
    assert routes["base"] == Route(name="base")
    assert routes["uniform"].router == "uniform"
    assert (routes["arrow"].options, routes["arrow"].combine) == (arrow, "outputs")
    assert routes["oracle"].expert_of == OWN
    assert routes["random"].expert_of == {"dates": "random", "morse": "random"}
    assert routes["expert:plurals"].expert_of == {"dates": "plurals", "morse": "plurals"}


def test_the_oracle_answers_with_the_experts_it_is_given(model):
    """Guards a bug: the experts given were ignored, and those of the tasks' names taken."""
    (route,) = find_routes(["oracle"], model, {"days": "dates", "signals": "morse"})
    assert route.expert_of == {"days": "dates", "signals": "morse"}


def test_a_packed_batch_is_planned_as_each_task_alone(model):
    route = Route(name="oracle", expert_of=OWN)
    sequences = [TokenizedExample((5, 6, 7), (8, 9)), TokenizedExample((10, 11), (12,))]
    tasks = ["dates", "morse"]
    batch = pack_sequences(sequences, 16)
    with torch.no_grad():
        with route.applied(model), route.planned(model, tasks, batch):
            packed = model(**batch.model_inputs()).logits
        for owner, (task, sequence) in enumerate(zip(tasks, sequences, strict=True)):
            ids = torch.tensor([[*sequence.prompt_ids, *sequence.target_ids[:-1]]])
            with model.assign([task]):
                alone = model(input_ids=ids).logits[0]
            torch.testing.assert_close(packed[batch.owner == owner], alone, atol=1e-4, rtol=1e-4)


def test_a_batch_of_prompts_is_assigned_to_the_tasks_experts(model):
    route = Route(name="oracle", expert_of=OWN)
    ids = torch.randint(1, 200, (2, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with route.assigned(model, ["morse", "dates"]):
            found = model(input_ids=ids).logits
        with model.assign(["morse", "dates"]):
            assert torch.equal(found, model(input_ids=ids).logits)
        with Route(name="base").assigned(model, ["morse", "dates"]):
            assert not torch.allclose(model(input_ids=ids).logits, found)


def test_a_route_without_own_experts_plans_nothing(model):
    batch = pack_sequences([TokenizedExample((5, 6), (7,))], 8)
    with Route(name="base").planned(model, ["dates"], batch):
        assert model.stack.decision.plan is None


def test_tasks_are_matched_with_experts_of_their_names(model):
    assert match_experts(model, ["morse", "dates"]) == {"morse": "morse", "dates": "dates"}
    with pytest.raises(UnknownExpert, match="has no expert 'date': did you mean 'dates'"):
        match_experts(model, ["date"])


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("arow", ValueError, "there is no route 'arow': did you mean 'arrow'"),
        ("multi-task", ValueError, "there is no route 'multi-task'"),
        ("plurals", ValueError, "there is no route 'plurals'"),
        ("expert:plural", UnknownExpert, "has no expert 'plural': did you mean 'plurals'"),
    ],
)
def test_what_is_no_route_is_refused(model, name, kind, message):
    with pytest.raises(kind, match=message):
        find_routes(["base", name], model, OWN)
    with pytest.raises(kind, match=message):
        check_routes([name], model.names, model.controls)


def test_an_oracle_with_an_unknown_expert_is_refused(model):
    with pytest.raises(UnknownExpert, match="'signals'"):
        find_routes(["oracle"], model, {"morse": "signals"})
