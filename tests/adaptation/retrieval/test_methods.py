"""Each retrieval method against an independent computation."""

from dataclasses import replace

import pytest
import torch

from lorary.adaptation.retrieval import retrieve
from lorary.assembly import load_model
from lorary.experts import ExpertCard, Factors
from lorary.training import TrainConfig, train_experts
from lorary.transforms import expert_similarity
from lorary.transforms.sparse_similarity import sparse_similarity
from tests.adaptation.retrieval.conftest import GENERIC, NAMES, make_examples


def test_calibrated_ranks_as_the_router_does_for_a_single_prompt(context):
    """The router's softmax over all experts has the order and the differences of the scores."""
    one = replace(context.examples, train=context.examples.train[:1])
    found = dict(retrieve(replace(context, examples=one), by="calibrated").scores)
    model = load_model(context.base, context.experts, router=None)
    decider = model.router("calibrated", generic=GENERIC, top_k=4, margin=None, temperature=1.0).decider
    indices, weights = decider.decide_prompts([one.train[0].prompt_ids])
    model.detach()
    scores = torch.tensor([found[model.names[place]] for place in indices[0].tolist()])
    torch.testing.assert_close(scores.softmax(0), weights[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("by", ["calibrated", "embedding"])
def test_only_as_many_prompts_are_read_as_asked_for(context, by):
    one = replace(context.examples, train=context.examples.train[:1])
    expected = retrieve(replace(context, examples=one), by=by)
    assert retrieve(replace(context, num_read=1), by=by) == expected


def test_calibrated_scores_are_means_over_prompts(context):
    whole = dict(retrieve(context, by="calibrated").scores)
    parts = [
        dict(
            retrieve(
                replace(context, examples=replace(context.examples, train=(one,))), by="calibrated"
            ).scores
        )
        for one in context.examples.train
    ]
    for name in NAMES:
        assert whole[name] == pytest.approx(sum(part[name] for part in parts) / 3, abs=1e-4)


def test_cosine_is_that_of_the_weight_changes(context, draw_expert):
    task = draw_expert(context.base, "task", rank=3)
    found = dict(retrieve(replace(context, task_expert=task), by="cosine").scores)
    everyone = {"task": task, **context.experts}
    expected = expert_similarity(everyone)[0, 1:].tolist()
    assert found == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-5)


def test_cosine_finds_the_expert_that_was_changed_little(context):
    near = replace(
        context.experts["poetry"],
        factors={path: Factors(a * 2, b + 0.1) for path, (a, b) in context.experts["poetry"].factors.items()},
    )
    assert retrieve(replace(context, task_expert=near), num=1, by="cosine").names == ["poetry"]


def test_an_expert_without_weight_change_has_cosine_zero(context):
    nothing = replace(
        context.experts["sql"],
        factors={path: Factors(a, b * 0) for path, (a, b) in context.experts["sql"].factors.items()},
    )
    experts = {**context.experts, "sql": nothing}
    known = replace(context, experts=experts, task_expert=context.experts["dates"])
    assert dict(retrieve(known, by="cosine").scores)["sql"] == 0


def test_svd_is_the_similarity_of_sparse_factors(context, draw_expert):
    task = draw_expert(context.base, "task")
    found = dict(retrieve(replace(context, task_expert=task), by="svd").scores)
    expected = sparse_similarity({"task": task, **context.experts})[0, 1:].tolist()
    assert found == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-5)


def test_the_quick_expert_starts_where_the_experts_started(context, tmp_path):
    """Factors can be compared only if all were trained from the same initial values."""
    config = TrainConfig(max_steps=1, batch_size=2, rank=4, same_start=True, seed=7)
    own = {name: make_examples(context.base, name) for name in NAMES}
    experts = train_experts(context.base, own, config, tmp_path).experts
    task = train_experts(context.base, {"new": context.examples}, config, tmp_path / "new").experts["new"]
    quick = TrainConfig(max_steps=1, batch_size=2)
    known = replace(context, experts=experts, quick=quick)
    found = dict(retrieve(known, by="svd").scores)
    assert found == pytest.approx(dict(retrieve(replace(known, task_expert=task), by="svd").scores), abs=1e-4)


@pytest.mark.parametrize("seed", [-1, "x", None, True, [1]])
def test_seeds_of_cards_that_are_none_are_ignored(context, seed):
    card = ExpertCard(
        base_fingerprint=context.base.fingerprint,
        provenance={"training": {"same_start": True, "seed": seed}},
    )
    experts = {name: replace(expert, card=card) for name, expert in context.experts.items()}
    assert len(retrieve(replace(context, experts=experts), by="cosine").names) == 4


def test_embedding_finds_the_expert_whose_task_has_the_same_prompts(context):
    own = {name: make_examples(context.base, f"{name} 1 2 3", f"{name} x") for name in NAMES}
    own["morse"] = context.examples
    found = retrieve(replace(context, own_examples=own), by="embedding")
    assert found.scores[0] == ("morse", pytest.approx(1.0, abs=1e-5))


def test_embedding_reads_cards_if_no_tasks_are_at_hand(context):
    text = context.base.tokenizer.decode(context.examples.train[0].prompt_ids)
    card = ExpertCard(base_fingerprint=context.base.fingerprint, description=text)
    experts = {**context.experts, "sql": replace(context.experts["sql"], card=card)}
    one = replace(context.examples, train=context.examples.train[:1])
    found = retrieve(replace(context, experts=experts, examples=one), by="embedding")
    assert found.scores[0] == ("sql", pytest.approx(1.0, abs=1e-5))


def test_embedding_says_what_is_missing(context):
    card = ExpertCard(base_fingerprint=context.base.fingerprint)
    experts = {name: replace(expert, card=card) for name, expert in context.experts.items()}
    with pytest.raises(ValueError, match=r"found neither for .*1 more expert: .* choose by 'cosine'"):
        retrieve(replace(context, experts=experts), by="embedding")
    own = {"sql": context.examples}
    with pytest.raises(ValueError, match="every expert's task, or of none, found none for 'dates'"):
        retrieve(replace(context, own_examples=own), by="embedding")


def test_random_depends_on_the_seed_and_the_task(context):
    draws = {tuple(retrieve(context, by="random", seed=seed).names) for seed in range(20)}
    assert len(draws) > 5
    tasks = {tuple(retrieve(replace(context, task=f"task {n}"), by="random").names) for n in range(20)}
    assert len(tasks) > 5
