import math

import pytest

from lorary.training import TrainConfig


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
        "training configuration: rank must be at least 1, not 0; num_slots must be at least 1, not -1; "
        "one of epochs, max_steps and max_tokens must bound the run; learning_rate must be positive, not 0; "
        "warmup_ratio must lie in [0, 1), not 1.0; "
        "patience needs validate_every: an early stop looks at validation losses; "
        "schedule must be 'linear', 'cosine' or 'constant', not 'step'"
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
