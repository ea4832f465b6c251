import math
from pathlib import Path

import pytest
import torch

from lorary import training
from lorary.models import fold
from lorary.training import TrainingExamples, train_experts


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "cosine", "warmup_ratio": 0.4, "weight_decay": 0.1},
        {"schedule": "constant", "max_grad_norm": None, "use_rslora": True},
        {"max_grad_norm": 0.05, "target_modules": ["q_proj", "down_proj"]},
        {"max_steps": None, "epochs": 1.5, "warmup_ratio": 0.0},
    ],
    ids=lambda changes: ", ".join(changes) or "defaults",
)
def test_each_expert_of_a_run_equals_one_trained_by_the_book(
    base, examples, make_config, train_by_the_book, assert_same_factors, tmp_path, changes
):
    config = make_config(**changes)
    outcome = train_experts(base, examples, config, tmp_path)
    for name, expert in outcome.experts.items():
        factors, curve = train_by_the_book(base, name, examples[name], config)
        assert_same_factors(expert.factors, factors)
        assert [step for step, _ in outcome.progress[name].train_curve] == [step for step, _ in curve]
        for (_, found), (_, expected) in zip(outcome.progress[name].train_curve, curve, strict=True):
            assert math.isclose(found, expected, rel_tol=1e-4)


@pytest.mark.parametrize("num_slots", [1, 2, 8])
def test_an_expert_trained_with_others_equals_the_one_trained_alone(
    base, examples, make_config, assert_same_factors, tmp_path, num_slots
):
    config = make_config(epochs=2, max_steps=None, num_slots=num_slots)
    together = train_experts(base, examples, config, tmp_path / "together")
    assert list(together.experts) == list(examples)
    assert len({progress.step for progress in together.progress.values()}) == 3
    for name in examples:
        alone = train_experts(base, {name: examples[name]}, config, tmp_path / name)
        assert_same_factors(together.experts[name].factors, alone.experts[name].factors)


@pytest.mark.parametrize("changes", [{"tokens_per_pass": 7}, {"tokens_per_pass": 20}, {"row_length": 12}])
def test_how_a_batch_is_cut_into_passes_and_rows_changes_nothing(
    base, examples, make_config, assert_same_factors, tmp_path, changes
):
    whole = train_experts(base, examples, make_config(), tmp_path / "whole")
    cut = train_experts(base, examples, make_config(**changes), tmp_path / "cut")
    for name in examples:
        assert_same_factors(cut.experts[name].factors, whole.experts[name].factors)


def test_what_is_computed_twice_changes_nothing_and_may_change_while_resuming(
    base, examples, make_config, assert_same_factors, tmp_path
):
    kept = train_experts(base, examples, make_config(), tmp_path / "kept")
    again = train_experts(base, examples, make_config(gradient_checkpointing=True), tmp_path / "again")
    for name in examples:
        assert_same_factors(again.experts[name].factors, kept.experts[name].factors)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in base.model.modules())
    resumed = train_experts(base, examples, make_config(gradient_checkpointing=True), tmp_path / "kept")
    assert_same_factors(resumed.experts["alpha"].factors, kept.experts["alpha"].factors)


def test_accumulation_takes_several_passes_per_step(base, examples, make_config, tmp_path):
    events = []
    one = {"alpha": examples["alpha"]}
    train_experts(base, one, make_config(tokens_per_pass=1), tmp_path, on_progress=events.append)
    # One pass per example, and one event more when the expert is finished.
    assert len(events) == 5 * 3 + 1


def test_the_same_run_gives_the_same_bits_and_another_seed_does_not(base, examples, make_config, tmp_path):
    runs = [
        train_experts(base, examples, make_config(seed=seed), tmp_path / str(number)).experts["beta"].factors
        for number, seed in enumerate([0, 0, 1])
    ]
    for path, (a, b) in runs[0].items():
        assert torch.equal(a, runs[1][path].a) and torch.equal(b, runs[1][path].b)
        assert not torch.equal(a, runs[2][path].a)


def test_an_expert_folded_into_the_base_has_the_validation_loss_it_was_given(
    base, make_examples, make_config, compute_loss, tmp_path
):
    examples = {
        name: make_examples(shift, num_train=20, num_validation=4 + shift)
        for shift, name in enumerate(("alpha", "beta", "gamma"))
    }
    outcome = train_experts(base, examples, make_config(validate_every=2, max_steps=20), tmp_path)
    for name, expert in outcome.experts.items():
        folded = fold(base.model, expert)
        loss = float(compute_loss(folded, examples[name].validation))
        progress = outcome.progress[name]
        assert math.isclose(loss, progress.best_loss, rel_tol=1e-3)
        assert expert.card.scores == {"validation_loss": progress.best_loss}
        assert [step for step, _ in progress.validation_curve] == list(range(2, 21, 2))
        assert progress.best_loss == min(loss for _, loss in progress.validation_curve)
        before = compute_loss(base.model, examples[name].train)
        assert compute_loss(folded, examples[name].train) < 0.9 * before


def test_an_expert_that_gets_worse_stops_early_with_its_best_weights(
    base, make_examples, make_config, assert_same_factors, tmp_path
):
    """Validation examples of another task: what is learned soon does harm there."""
    train, other = make_examples(1, num_train=20), make_examples(9, num_validation=6)
    mixed = TrainingExamples(train=train.train, validation=other.validation)
    settings = {"schedule": "constant", "warmup_ratio": 0.0, "learning_rate": 3e-2}
    config = make_config(max_steps=24, validate_every=2, patience=3, **settings)
    outcome = train_experts(base, {"worse": mixed, "fine": train}, config, tmp_path / "long")
    progress = outcome.progress["worse"]
    assert progress.step == progress.best_step + 2 * 3 < 24
    assert outcome.progress["fine"].step == 24
    assert outcome.experts["worse"].card.provenance["best_step"] == progress.best_step
    short = make_config(max_steps=progress.best_step, **settings)
    best = train_experts(base, {"worse": train}, short, tmp_path / "short").experts["worse"]
    assert_same_factors(outcome.experts["worse"].factors, best.factors)


def test_training_never_touches_the_base_and_leaves_it_without_experts(
    base, examples, make_config, tmp_path, is_plain
):
    before = {name: parameter.clone() for name, parameter in base.model.named_parameters()}
    train_experts(base, examples, make_config(), tmp_path)
    assert is_plain(base.model)
    for name, parameter in base.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None and not parameter.requires_grad


def test_the_base_is_trained_where_it_is(base, examples, make_config, tmp_path, monkeypatch):
    """Guards a bug: it was moved to the first GPU, whichever device it had been loaded on."""
    moved = []
    monkeypatch.setattr(type(base.model), "to", lambda model, *args, **options: moved.append(args))
    monkeypatch.setattr(type(base.model), "cuda", lambda model, *args: moved.append(args))
    before = {name: parameter.data_ptr() for name, parameter in base.model.named_parameters()}
    train_experts(base, examples, make_config(max_steps=1), tmp_path)
    assert moved == []
    assert {name: parameter.data_ptr() for name, parameter in base.model.named_parameters()} == before


def test_training_asks_no_other_package_for_a_device():
    """Guards the same bug: accelerate chose the device."""
    folder = Path(training.__file__).parent
    assert [path for path in folder.rglob("*.py") if "accelerate" in path.read_text()] == []


def test_a_bf16_base_is_trained_with_float32_experts(build_base, examples, make_config, tmp_path):
    base = build_base(dtype=torch.bfloat16)
    outcome = train_experts(base, examples, make_config(max_steps=12, learning_rate=3e-2), tmp_path)
    for name, expert in outcome.experts.items():
        assert expert.dtypes == (torch.float32,)
        curve = [loss for _, loss in outcome.progress[name].train_curve]
        assert sum(curve[-4:]) < 0.8 * sum(curve[:4])


def test_gpt2_experts_are_marked_for_peft_and_equal_those_by_the_book(
    build_base, examples, make_config, train_by_the_book, assert_same_factors, tmp_path
):
    base, config = build_base("gpt2"), make_config()
    expert = train_experts(base, examples, config, tmp_path).experts["beta"]
    assert expert.card.fan_in_fan_out
    assert_same_factors(expert.factors, train_by_the_book(base, "beta", examples["beta"], config)[0])


def test_the_card_says_what_the_expert_comes_from(base, examples, make_config, tmp_path):
    outcome = train_experts(base, examples, make_config(), tmp_path)
    expert, progress = outcome.experts["alpha"], outcome.progress["alpha"]
    assert (expert.name, expert.base_model) == ("alpha", "org/tiny-llama")
    assert expert.card.base_fingerprint == base.fingerprint
    assert expert.card.tasks == ("shift 1",)
    assert not expert.card.fan_in_fan_out and expert.card.scores == {}
    assert expert.card.provenance["training"]["learning_rate"] == 1e-2
    assert expert.card.provenance["data"] == {"digest": examples["alpha"].digest, "num_train": 10}
    assert expert.card.provenance["steps"] == progress.step == 5
    assert expert.card.provenance["tokens"] == progress.tokens > 0


def test_progress_is_told_after_every_pass(base, examples, make_config, tmp_path):
    events = []
    outcome = train_experts(base, examples, make_config(num_slots=2), tmp_path, on_progress=events.append)
    steps = [event.num_steps for event in events]
    assert steps == sorted(steps) and steps[-1] == events[-1].total_steps == 15
    assert {event.num_finished for event in events} == {0, 1, 2, 3}
    assert set(events[1].losses) == {"alpha", "beta"}
    assert events[-1].num_tokens == sum(progress.tokens for progress in outcome.progress.values())


def test_each_event_has_the_experts_that_are_done(base, examples, make_config, tmp_path):
    events = []
    outcome = train_experts(base, examples, make_config(num_slots=2), tmp_path, on_progress=events.append)
    assert events[-1].finished == outcome.experts
    assert [len(event.finished) for event in events] == [event.num_finished for event in events]
