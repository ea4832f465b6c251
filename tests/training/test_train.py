import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lorary import training
from lorary.data import TokenizedExample
from lorary.errors import IncompatibleExpert, TrainingError
from lorary.models import attach_experts, fold
from lorary.training import TrainingExamples, train_experts

NAMES = ("alpha", "beta", "gamma")
BAD_EXAMPLES = [
    TokenizedExample((3, 4), ()),
    TokenizedExample((), (3, 4)),
    TokenizedExample((3, 48), (4,)),
    TokenizedExample((3,), (4, 10**30)),
    TokenizedExample((-1,), (4,)),
    TokenizedExample((3.0,), (4,)),
    TokenizedExample(("3",), (4,)),
    TokenizedExample((True,), (4,)),
    TokenizedExample((None,), (4,)),
]


@pytest.fixture
def examples(make_examples):
    """Three tasks of different sizes, so that their plans differ too."""
    return {name: make_examples(shift, num_train=8 + 2 * shift) for shift, name in enumerate(NAMES, 1)}


def spoil_weights(base, value=math.nan):
    base.model.model.layers[0].mlp.up_proj.weight.data[0, 0] = value


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
    assert list(together.experts) == list(NAMES)
    assert len({progress.step for progress in together.progress.values()}) == 3
    for name in NAMES:
        alone = train_experts(base, {name: examples[name]}, config, tmp_path / name)
        assert_same_factors(together.experts[name].factors, alone.experts[name].factors)


@pytest.mark.parametrize("changes", [{"tokens_per_pass": 7}, {"tokens_per_pass": 20}, {"row_length": 12}])
def test_how_a_batch_is_cut_into_passes_and_rows_changes_nothing(
    base, examples, make_config, assert_same_factors, tmp_path, changes
):
    whole = train_experts(base, examples, make_config(), tmp_path / "whole")
    cut = train_experts(base, examples, make_config(**changes), tmp_path / "cut")
    for name in NAMES:
        assert_same_factors(cut.experts[name].factors, whole.experts[name].factors)


def test_what_is_computed_twice_changes_nothing_and_may_change_while_resuming(
    base, examples, make_config, assert_same_factors, tmp_path
):
    kept = train_experts(base, examples, make_config(), tmp_path / "kept")
    again = train_experts(base, examples, make_config(gradient_checkpointing=True), tmp_path / "again")
    for name in NAMES:
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
        name: make_examples(shift, num_train=20, num_validation=4 + shift) for shift, name in enumerate(NAMES)
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


def test_nothing_to_train_is_refused(base, make_config, tmp_path):
    with pytest.raises(ValueError, match="there must be examples of at least one"):
        train_experts(base, {}, make_config(), tmp_path)


def test_an_expert_without_examples_is_refused(base, make_config, tmp_path):
    with pytest.raises(
        ValueError, match="expert 'empty' must have at least one training example, found none"
    ):
        train_experts(base, {"empty": TrainingExamples(train=())}, make_config(), tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_an_unsafe_name_is_refused_before_anything_is_written(base, examples, make_config, tmp_path, name):
    with pytest.raises(ValueError, match="an expert's name must not"):
        train_experts(base, {name: examples["alpha"]}, make_config(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_targets_that_match_nothing_are_refused_before_the_folder_is_claimed(
    base, examples, make_config, tmp_path
):
    with pytest.raises(IncompatibleExpert, match=r"target_modules must match a layer .*, found \['c_attn'\]"):
        train_experts(base, examples, make_config(target_modules=["c_attn"]), tmp_path)
    assert train_experts(base, examples, make_config(), tmp_path).experts.keys() == set(NAMES)


def test_a_base_that_carries_experts_is_refused(base, examples, make_config, tmp_path):
    expert = train_experts(base, examples, make_config(), tmp_path / "one").experts["alpha"]
    attach_experts(base.model, {"alpha": expert})
    with pytest.raises(IncompatibleExpert, match=r"some are attached .*: detach them first"):
        train_experts(base, examples, make_config(), tmp_path / "two")


def test_a_loss_that_is_not_finite_ends_the_run(base, examples, make_config, tmp_path, is_plain):
    spoil_weights(base)
    message = r"expert 'alpha': the loss must be finite, .* after 0 steps: lower learning_rate \(0\.01\)"
    with pytest.raises(TrainingError, match=message):
        train_experts(base, examples, make_config(), tmp_path)
    assert is_plain(base.model)


def test_a_validation_loss_that_is_not_finite_ends_the_run(base, make_examples, make_config, tmp_path):
    config = make_config(learning_rate=1e30, validate_every=1)
    with pytest.raises(
        TrainingError,
        match=r"expert 'alpha': the validation loss must be finite, found (nan|inf) after 1 steps",
    ):
        train_experts(base, {"alpha": make_examples(1, num_validation=2)}, config, tmp_path)


def test_an_expert_with_weights_that_are_not_finite_is_never_given(base, examples, make_config, tmp_path):
    """Guards a bug: the last step's update was looked at by nobody."""
    config = make_config(learning_rate=1e37, weight_decay=1e37, max_steps=1)
    with pytest.raises(
        TrainingError,
        match=r"expert 'alpha': the sum of weights must be finite, found (nan|-?inf) after 1 steps",
    ):
        train_experts(base, examples, config, tmp_path)


@pytest.mark.parametrize("moment", [1, 4])
def test_after_an_error_the_base_is_as_it_was(base, examples, make_config, tmp_path, is_plain, moment):
    events = []

    def stop(event):
        events.append(event)
        if len(events) == moment:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        train_experts(base, examples, make_config(), tmp_path, on_progress=stop)
    assert is_plain(base.model)
    assert isinstance(base.model.model.layers[0].mlp.up_proj, nn.Linear)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("example", BAD_EXAMPLES, ids=str)
def test_examples_that_the_base_cannot_read_are_refused_before_the_folder_is_claimed(
    base, examples, make_config, tmp_path, split, example
):
    """Guards a bug: an id beyond the vocabulary was an ``IndexError``, on a GPU the end of the process."""
    bad = replace(examples["beta"], **{split: (*examples["beta"].train[:3], example)})
    where = "expert 'beta', example 3: " if split == "train" else "expert 'beta', validation, example 3: "
    with pytest.raises(ValueError, match=where) as error:
        train_experts(base, {**examples, "beta": bad}, make_config(), tmp_path / "run")
    assert len(str(error.value)) < 500
    assert list(tmp_path.iterdir()) == []


def test_what_are_no_examples_is_refused(base, make_config, tmp_path):
    with pytest.raises(TypeError, match="expert 'beta' must have TrainingExamples, found 'text'"):
        train_experts(base, {"beta": "text"}, make_config(), tmp_path)


def test_examples_longer_than_a_table_of_positions_are_refused(build_base, make_config, tmp_path):
    """Guards a bug: GPT-2 ended with an ``IndexError`` of its position table."""
    base = build_base("gpt2")
    most = base.model.config.n_positions
    fits, longer = (TokenizedExample((5,) * (most - 1), (6,) * extra) for extra in (1, 2))
    train_experts(
        base, {"long": TrainingExamples(train=(fits,))}, make_config(max_steps=1), tmp_path / "fits"
    )
    message = (
        f"expert 'long', example 0: it must fit in the base model's {most} positions, found {most + 1} tokens"
    )
    with pytest.raises(ValueError, match=message):
        train_experts(base, {"long": TrainingExamples(train=(longer,))}, make_config(), tmp_path / "run")


def test_positions_that_are_computed_have_no_end(base, make_config, tmp_path):
    most = base.model.config.max_position_embeddings
    longer = TokenizedExample((5,) * most, (6,))
    train_experts(base, {"x": TrainingExamples(train=(longer,))}, make_config(max_steps=1), tmp_path)


def test_each_event_has_the_experts_that_are_done(base, examples, make_config, tmp_path):
    events = []
    outcome = train_experts(base, examples, make_config(num_slots=2), tmp_path, on_progress=events.append)
    assert events[-1].finished == outcome.experts
    assert [len(event.finished) for event in events] == [event.num_finished for event in events]
