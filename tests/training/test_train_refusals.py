"""What training refuses, and how it ends when numbers are not finite."""

import math
from dataclasses import replace

import pytest
from torch import nn

from lorary.data import TokenizedExample
from lorary.errors import IncompatibleExpert, TrainingError
from lorary.models import attach_experts
from lorary.training import TrainingExamples, train_experts

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


def spoil_weights(base, value=math.nan):
    base.model.model.layers[0].mlp.up_proj.weight.data[0, 0] = value


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
    assert train_experts(base, examples, make_config(), tmp_path).experts.keys() == examples.keys()


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
        match=r"expert 'alpha': the validation loss must be finite, found (nan|inf) after 1 step",
    ):
        train_experts(base, {"alpha": make_examples(1, num_validation=2)}, config, tmp_path)


def test_an_expert_with_weights_that_are_not_finite_is_never_given(base, examples, make_config, tmp_path):
    """Guards a bug: the last step's update was looked at by nobody."""
    config = make_config(learning_rate=1e37, weight_decay=1e37, max_steps=1)
    with pytest.raises(
        TrainingError,
        match=r"expert 'alpha': the sum of weights must be finite, found (nan|-?inf) after 1 step",
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
