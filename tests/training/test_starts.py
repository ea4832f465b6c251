import json
from dataclasses import replace

import pytest
import torch

from lorary.errors import FormatError, IncompatibleExpert, TrainingError
from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.random_start import draw_start
from lorary.experts.seeds import seed_for
from lorary.lowrank import compress
from lorary.models import attach_experts
from lorary.training import TrainingExamples, train_experts


def change(pair):
    return pair.b @ pair.a


def train_from(base, start, config, folder, examples):
    return train_experts(base, {"alpha": examples}, config, folder, starts={"alpha": start})


@pytest.mark.parametrize("alpha", [8, 5])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_without_steps_an_expert_is_its_start(base, experts, examples, make_config, tmp_path, rank, alpha):
    """The start has rank 2: at rank 1 it is the best approximation, with the error that the card tells."""
    config = make_config(max_steps=0, rank=rank, alpha=alpha)
    outcome = train_from(base, experts["sql"], config, tmp_path, examples["alpha"])
    found, progress = outcome.experts["alpha"], outcome.progress["alpha"]
    lost = whole = 0.0
    for path, pair in experts["sql"].factors.items():
        cut = compress(*pair, rank=rank)
        torch.testing.assert_close(change(found.factors[path]), cut.b @ cut.a, rtol=1e-5, atol=1e-6)
        lost += float((change(pair) - cut.b @ cut.a).square().sum())
        whole += float(change(pair).square().sum())
    told = found.card.provenance["start"]
    assert told["expert"] == "sql" and found.card.parents == ("sql",)
    assert told["relative_error"] == pytest.approx((lost / whole) ** 0.5, rel=1e-4, abs=1e-9)
    assert (progress.step, progress.is_finished) == (0, True)


def test_missing_rows_and_layers_begin_fresh(base, experts, examples, make_config, tmp_path):
    config = make_config(max_steps=0, rank=4)
    first = next(iter(experts["sql"].factors))
    part = replace(experts["sql"], factors={first: experts["sql"].factors[first]})
    started = train_from(base, part, config, tmp_path / "started", examples["alpha"]).experts["alpha"]
    fresh = train_experts(base, {"alpha": examples["alpha"]}, config, tmp_path / "fresh", starts={})
    for path, (a, b) in started.factors.items():
        own = fresh.experts["alpha"].factors[path]
        num_rows = 2 if path == first else 0
        assert torch.equal(a[num_rows:], own.a[num_rows:]) and not b[:, num_rows:].any()
        if num_rows:
            assert torch.equal(a[:2], part.factors[path].a)
            torch.testing.assert_close(b[:, :2], part.factors[path].b)


def test_training_goes_on_from_the_start(base, make_examples, make_config, compute_loss, tmp_path):
    """Twice five steps reach a loss on the training examples that five steps do not."""
    examples = make_examples(1, num_train=12)
    examples = replace(examples, validation=examples.train)
    config = make_config(validate_every=5, schedule="constant")
    first = train_experts(base, {"alpha": examples}, config, tmp_path / "first")
    more = train_from(base, first.experts["alpha"], config, tmp_path / "more", examples)
    start_loss = more.progress["alpha"].validation_curve[0]
    assert start_loss == (0, pytest.approx(first.progress["alpha"].validation_curve[-1][1], rel=1e-4))
    assert more.progress["alpha"].best_loss < first.progress["alpha"].best_loss
    stack = attach_experts(base.model, more.experts)
    with stack.assign(["alpha"]):
        loss = float(compute_loss(base.model, examples.validation))
    assert loss == pytest.approx(more.progress["alpha"].best_loss, rel=1e-4)


def test_a_start_that_nothing_improves_is_kept(base, make_examples, make_config, tmp_path):
    examples = make_examples(1, num_train=12)
    examples = replace(examples, validation=examples.train)
    good = train_experts(base, {"good": examples}, make_config(max_steps=30), tmp_path / "good").experts[
        "good"
    ]
    config = make_config(learning_rate=5.0, validate_every=1, patience=2, max_steps=6)
    outcome = train_from(base, good, config, tmp_path / "bad", examples)
    assert outcome.progress["alpha"].best_step == 0 and outcome.progress["alpha"].step == 2
    for path, pair in outcome.experts["alpha"].factors.items():
        torch.testing.assert_close(change(pair), change(good.factors[path]))


def test_a_unit_with_a_start_equals_the_one_trained_alone(
    base, experts, examples, make_config, assert_same_factors, tmp_path
):
    config, starts = make_config(num_slots=2), {"alpha": experts["sql"], "gamma": experts["law"]}
    together = train_experts(base, examples, config, tmp_path / "together", starts=starts)
    for name in examples:
        own = {name: starts[name]} if name in starts else {}
        alone = train_experts(base, {name: examples[name]}, config, tmp_path / name, starts=own)
        assert_same_factors(together.experts[name].factors, alone.experts[name].factors)
        assert together.experts[name].card.parents == tuple(start.name for start in own.values())


def test_a_run_with_starts_resumes_to_the_same_bits(base, experts, make_examples, make_config, tmp_path):
    examples = make_examples(1, num_validation=4)
    config = make_config(validate_every=2, checkpoint_seconds=0.0)
    whole = train_from(base, experts["sql"], config, tmp_path / "whole", examples).experts["alpha"]
    events = []

    def stop(event):
        events.append(event)
        if len(events) == 3:
            raise SystemExit

    def resume(**told):
        return train_experts(
            base, {"alpha": examples}, config, tmp_path / "cut", starts={"alpha": experts["sql"]}, **told
        )

    with pytest.raises(SystemExit):
        resume(on_progress=stop)
    for found in (resume(), resume()):
        progress = found.progress["alpha"]
        assert [step for step, _ in progress.validation_curve] == [0, 2, 4, 5]
        for path, (a, b) in found.experts["alpha"].factors.items():
            assert torch.equal(a, whole.factors[path].a) and torch.equal(b, whole.factors[path].b)


def test_a_run_is_not_resumed_with_another_start(base, experts, examples, make_config, tmp_path):
    config = make_config(max_steps=1)
    train_from(base, experts["sql"], config, tmp_path, examples["alpha"])
    known = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert list(known) == ["alpha"] and len(known["alpha"]) == 64
    with pytest.raises(TrainingError, match="another run, which differs in starts alpha"):
        train_from(base, experts["law"], config, tmp_path, examples["alpha"])
    with pytest.raises(TrainingError, match="another run, which differs in starts"):
        train_experts(base, {"alpha": examples["alpha"]}, config, tmp_path)


def test_spent_tokens_shorten_the_plan(base, make_examples, make_config, tmp_path):
    examples = make_examples(1)
    config = make_config(max_steps=6)
    full = train_experts(base, {"alpha": examples}, config, tmp_path / "full", starts={})
    budget = full.progress["alpha"].tokens
    for spent in (1, budget // 2, budget - 1, budget, budget + 5):
        own = TrainingExamples(train=examples.train, spent_tokens=spent)
        found = train_experts(base, {"alpha": own}, config, tmp_path / str(spent), starts={}).progress[
            "alpha"
        ]
        assert found.tokens <= max(0, budget - spent)
        assert found.tokens + spent > budget - max(map(len, examples.train)) or found.tokens == 0
        assert own.digest != examples.digest


def test_what_cannot_be_a_start_is_refused(base, experts, examples, make_config, tmp_path):
    config = make_config(target_modules=["q_proj"])
    with pytest.raises(
        IncompatibleExpert, match=r"'sql' cannot be a start: it changes 12 layers .*target_modules"
    ):
        train_from(base, experts["sql"], config, tmp_path, examples["alpha"])
    with pytest.raises(ValueError, match=r"must belong to an expert in training \('alpha'\), found 'delta'"):
        train_experts(base, {"alpha": examples["alpha"]}, config, tmp_path, starts={"delta": experts["sql"]})
    with pytest.raises(TypeError, match="the start of 'alpha' must be an Expert, found 7"):
        train_from(base, 7, config, tmp_path, examples["alpha"])
    other = Expert("far", "org/other", experts["sql"].factors, ExpertCard(base_fingerprint="x"))
    with pytest.raises(IncompatibleExpert, match="'far'"):
        train_from(base, other, make_config(), tmp_path, examples["alpha"])
    path = next(iter(experts["sql"].factors))
    broken = Factors(experts["sql"].factors[path].a * float("nan"), experts["sql"].factors[path].b)
    with pytest.raises(FormatError, match="must be finite"):
        train_from(
            base, Expert("nan", "org/tiny-llama", {path: broken}), make_config(), tmp_path, examples["alpha"]
        )
    with pytest.raises(ValueError, match="without steps there must be experts to start from"):
        train_experts(base, {"alpha": examples["alpha"]}, make_config(max_steps=0), tmp_path)


def test_a_continued_expert_keeps_the_seed_of_its_random_start(base, examples, make_config, tmp_path):
    config = make_config(max_steps=2, rank=2)
    first = train_experts(base, {"sql": examples["alpha"]}, config, tmp_path / "first").experts["sql"]
    found = train_from(base, first, config, tmp_path / "next", examples["alpha"]).experts["alpha"]
    seed = first.card.provenance["start_seed"]
    assert found.card.provenance["start_seed"] == seed == seed_for(config.seed, "sql")
    drawn = draw_start(seed, {path: found.factors[path].a.shape for path in found.factors})
    for path, start in drawn.items():
        for expert in (first, found):
            a = expert.factors[path].a
            assert torch.cosine_similarity(a.flatten(), start.flatten(), dim=0) > 0.8


def test_an_expert_from_a_start_without_a_seed_has_none(base, experts, examples, make_config, tmp_path):
    found = train_from(base, experts["sql"], make_config(max_steps=1, rank=2), tmp_path, examples["alpha"])
    assert "start_seed" not in found.experts["alpha"].card.provenance
