from math import log

import pytest
import torch

from lorary.data import find_template
from lorary.evaluation import EvalConfig
from lorary.evaluation.chosen_examples import choose_examples
from lorary.evaluation.routing_survey import average_scores, merge_modules, survey_routing
from lorary.routing import ROUTERS

PLAIN = find_template("plain")
FEW = EvalConfig(num_examples=2)


def survey(model, tasks, router, **options):
    with model.routed(router, ROUTERS[router].config(**options)):
        return survey_routing(model, tasks, PLAIN, FEW)


def test_shares_are_the_means_of_what_explain_says(model, tasks):
    found = survey(model, tasks, "arrow")
    with model.routed("arrow"):
        expected = {}
        for name, task in tasks.items():
            examples = choose_examples(model.tokenizer, name, task, PLAIN, FEW).tokens.examples
            weights = [model.explain([*e.prompt_ids, *e.target_ids]).weights.mean((0, 1)) for e in examples]
            expected[name] = torch.stack(weights).mean(0)
    for name, shares in expected.items():
        assert list(found.usage_by_task[name]) == list(model.names)
        assert list(found.usage_by_task[name].values()) == pytest.approx(shares.tolist(), abs=1e-6)


def test_each_decoder_layer_stands_once_and_its_shares_sum_to_one(model, tasks):
    found = survey(model, tasks, "arrow")
    layers = {path.split(".")[2] for path in model.stack.layers}
    assert set(found.usage_by_layer) == set(found.entropy_by_layer) == layers
    for shares in found.usage_by_layer.values():
        assert sum(shares.values()) == pytest.approx(1)


def test_entropy_is_log_of_the_experts_for_the_uniform_merge_and_nothing_for_one_expert(model, tasks):
    uniform = survey(model, tasks, "uniform").entropy_by_layer
    single = survey(model, tasks, "single", expert="morse").entropy_by_layer
    assert list(uniform.values()) == pytest.approx([log(3)] * len(uniform))
    assert list(single.values()) == pytest.approx([0.0] * len(single))


def test_what_is_left_to_the_base_model_counts_as_a_choice(model, tasks):
    """Half to an expert and half to the base is as undecided as two experts."""
    half = survey(model, tasks, "fixed", weights={"morse": 0.5}).entropy_by_layer
    assert list(half.values()) == pytest.approx([log(2)] * len(half))


def test_a_router_that_decides_per_request_is_shown_the_prompt_alone(model, tasks):
    found = survey(model, tasks, "calibrated")
    with model.routed("calibrated"):
        tokens = choose_examples(model.tokenizer, "dates", tasks["dates"], PLAIN, FEW).tokens.examples
        decided = [
            model.explain([*e.prompt_ids, *e.target_ids], num_prompt_tokens=len(e.prompt_ids)).weights[0, 0]
            for e in tokens
        ]
    expected = torch.stack(decided).mean(0)
    assert list(found.usage_by_task["dates"].values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_router_that_decides_per_request_has_scores_and_margins_instead_of_equal_layers(model, tasks):
    found = survey(model, tasks, "calibrated")
    assert found.usage_by_layer == found.entropy_by_layer == {}
    with model.routed("calibrated"):
        tokens = choose_examples(model.tokenizer, "dates", tasks["dates"], PLAIN, FEW).tokens.examples
        scores = torch.stack([model.explain(list(e.prompt_ids)).scores for e in tokens])
    best = found.scores_by_task["dates"]
    assert list(best.scores.values()) == sorted(best.scores.values(), reverse=True)
    expected = dict(zip(model.names, scores.mean(0).tolist(), strict=True))
    assert dict(best.scores) == pytest.approx(expected, abs=1e-5)
    # There are three experts, so the best is compared with the last.
    assert best.margin == pytest.approx((scores.max(1).values - scores.min(1).values).mean().item(), abs=1e-5)
    assert survey(model, tasks, "arrow").scores_by_task == {}


def test_the_margin_is_to_the_fourth_score_of_more_experts():
    scores = torch.tensor([[5.0, 1.0, 4.0, 3.0, 2.0], [0.0, 9.0, 8.0, 7.0, 6.0]])
    found = average_scores(tuple("abcde"), scores)
    assert found.margin == 3.0 and list(found.scores) == ["c", "b", "d", "e", "a"]


def test_progress_counts_tasks(model, tasks):
    seen = []
    with model.routed("uniform"):
        survey_routing(model, tasks, PLAIN, FEW, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_module_in_no_layer_keeps_its_path():
    rows = torch.tensor([[1.0], [3.0], [5.0]])
    found = merge_modules(["model.layers.3.q", "model.layers.3.k", "lm_head"], rows)
    assert {name: row.item() for name, row in found.items()} == {"3": 2.0, "lm_head": 5.0}


def test_without_a_task_or_a_router_there_is_nothing_to_survey(model, tasks):
    with pytest.raises(ValueError, match="a survey of routing needs at least one task, found none"):
        survey_routing(model, {}, PLAIN, FEW)
    with pytest.raises(ValueError, match="there is no routing to explain"):
        survey_routing(model, tasks, PLAIN, FEW)


def test_weights_below_zero_are_no_shares(model, tasks):
    with pytest.raises(ValueError, match="needs weights of at least 0, this router has negative ones"):
        survey(model, tasks, "fixed", weights={"morse": 1.5, "dates": -0.5})


def test_weights_that_add_up_to_more_than_one_are_shown_as_parts_of_a_whole(model, tasks):
    found = survey(model, tasks, "fixed", weights={"morse": 1.5, "dates": 0.5})
    for shares in found.usage_by_task.values():
        assert dict(shares) == pytest.approx({"dates": 0.25, "morse": 0.75, "plurals": 0.0})
    expected = -(0.25 * log(0.25) + 0.75 * log(0.75))
    assert list(found.entropy_by_layer.values()) == pytest.approx([expected] * len(found.entropy_by_layer))
