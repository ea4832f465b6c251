import json
import math
from dataclasses import asdict, fields

import pytest

from lorary.training import TrainConfig
from lorary.training.config import gives_the_same, list_effective


def test_the_scale_is_alpha_over_the_rank_or_its_root():
    assert TrainConfig(max_steps=1, rank=4, alpha=8).scale == 2.0
    assert TrainConfig(max_steps=1, rank=4, alpha=8, use_rslora=True).scale == 4.0


@pytest.mark.parametrize("bound", [{"epochs": 0.5}, {"max_steps": 1}, {"max_tokens": 10}])
def test_any_one_bound_is_enough(bound):
    TrainConfig(**bound)


def test_all_faults_are_reported_at_once():
    with pytest.raises(ValueError, match="training configuration: ") as error:
        TrainConfig(rank=0, num_slots=-1, learning_rate=0, warmup_ratio=1.0, patience=2, schedule="step")
    assert str(error.value) == (
        "training configuration: rank must be at least 1, found 0; num_slots must be at least 1, found -1; "
        "one of epochs, max_steps and max_tokens must be set, found none; learning_rate must be positive, "
        "found 0; warmup_ratio must be in [0, 1), found 1.0; "
        "patience needs validate_every, because early stopping depends on validation losses; "
        "schedule must be 'linear', 'cosine' or 'constant', found 'step'"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("tokens_per_pass", 0),
        ("row_length", 0),
        ("alpha", -1.0),
        ("learning_rate", math.nan),
        ("epochs", 0.0),
        ("max_tokens", 0),
        ("max_grad_norm", 0.0),
        ("validate_every", 0),
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("warmup_ratio", -0.1),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"configuration: {name} must .*{value!r}$"):
        TrainConfig(**{"max_steps": 1, name: value})


@pytest.mark.parametrize("value", ["8", None, [8], {}, True, 1.5, math.nan, math.inf, "x" * 10**6])
@pytest.mark.parametrize("name", [field.name for field in fields(TrainConfig)])
def test_a_setting_of_a_wrong_type_is_refused_by_name_or_means_something(name, value):
    """Guards a bug: a rank of 1.5 or infinitely many epochs failed far from here, without a name."""
    try:
        config = TrainConfig(**{"max_steps": 1, name: value})
    except ValueError as error:
        message = str(error)
        assert (
            message.startswith(f"training configuration: {name} must") or value is None or name == "patience"
        )
        assert name in message and len(message) < 300
    else:
        json.dumps(asdict(config), allow_nan=False)
        assert type(value) in SOUND[name]


FLAG, WHOLE, NUMBER, OPTIONAL = {bool}, {int}, {int, float}, {type(None)}
SOUND = {
    **dict.fromkeys(("use_rslora", "gradient_checkpointing", "same_start"), FLAG),
    **dict.fromkeys(("rank", "batch_size", "tokens_per_pass", "row_length", "num_slots", "seed"), WHOLE),
    **dict.fromkeys(("alpha", "learning_rate", "weight_decay", "checkpoint_seconds", "warmup_ratio"), NUMBER),
    **dict.fromkeys(("epochs", "max_grad_norm"), NUMBER | OPTIONAL),
    **dict.fromkeys(("max_steps", "max_tokens", "validate_every"), WHOLE | OPTIONAL),
    "patience": OPTIONAL,
    "max_validation_examples": WHOLE,
    "target_modules": {str},
    "schedule": set(),
}


def test_what_changes_no_expert_is_left_out():
    one = TrainConfig(max_steps=1, checkpoint_seconds=1, tokens_per_pass=9, gradient_checkpointing=True)
    assert list_effective(one) == list_effective(TrainConfig(max_steps=1))
    assert list_effective(one) != list_effective(TrainConfig(max_steps=1, alpha=2))


def test_a_card_tells_whether_its_training_gives_the_same():
    config = TrainConfig(max_steps=1, target_modules=("q_proj", "v_proj"))
    card = json.loads(json.dumps(asdict(config)))
    assert gives_the_same(card, config) and gives_the_same(asdict(config), config)
    assert gives_the_same({**card, "gradient_checkpointing": True, "tokens_per_pass": 9}, config)
    for change in ({"alpha": 2.0}, {"row_length": 3}, {"momentum": 1}):
        assert not gives_the_same({**card, **change}, config)


def test_settings_that_an_earlier_version_did_not_have_were_as_they_are_by_default():
    config = TrainConfig(max_steps=1)
    card = asdict(config)
    del card["same_start"]
    assert gives_the_same(card, config)
    assert not gives_the_same(card, TrainConfig(max_steps=1, same_start=True))


@pytest.mark.parametrize("settings", [None, 7, "text", ["rank"], [["rank", 8]]])
def test_what_is_no_configuration_gives_nothing(settings):
    assert not gives_the_same(settings, TrainConfig(max_steps=1))
