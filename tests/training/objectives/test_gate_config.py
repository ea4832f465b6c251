from dataclasses import fields

import pytest

from lorary.training import GateConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1, found 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
        ({"tokens_per_pass": 0}, "tokens_per_pass must be at least 1, found 0"),
        ({"row_length": -1}, "row_length must be at least 1, found -1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, found 0.0"),
        ({"warmup_ratio": 1.0}, r"warmup_ratio must be in \[0, 1\), found 1.0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0, found -0.1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GateConfig(**options)


def test_all_faults_are_reported_at_once():
    with pytest.raises(ValueError, match=r"gate configuration: num_steps .*; learning_rate "):
        GateConfig(num_steps=0, learning_rate=-1.0)


@pytest.mark.parametrize("value", ["8", None, [8], True, float("nan"), float("inf"), "x" * 10**6])
@pytest.mark.parametrize("name", [field.name for field in fields(GateConfig)])
def test_a_setting_of_a_wrong_type_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"gate configuration: {name} must ") as error:
        GateConfig(**{name: value})
    assert len(str(error.value)) < 200
