from dataclasses import replace

import pytest

from lorary.training import SkillConfig, TrainConfig
from lorary.training.objectives.few_shot import list_trials


def make_config(**changes):
    train = TrainConfig(epochs=2, learning_rate=5e-4, validate_every=50, patience=3)
    return SkillConfig(train=train, table_learning_rate=0.2, **changes)


def list_rates(config, protocol):
    return [(own.train.learning_rate, own.table_learning_rate) for own in list_trials(config, protocol)]


def test_the_given_configuration_is_one_training():
    config = make_config()
    assert list_trials(config, "given") == [config]


def test_fixed_is_1000_steps_at_3e3():
    [trial] = list_trials(make_config(), "fixed")
    assert (trial.train.max_steps, trial.train.epochs, trial.train.learning_rate) == (1000, None, 3e-3)
    assert trial.train.patience is None


@pytest.mark.parametrize(
    ("trained", "rates"),
    [
        ("all", [(1e-3, 0.5), (1e-3, 0.1), (1e-4, 0.5), (1e-4, 0.1)]),
        ("table", [(5e-4, 0.5), (5e-4, 0.1)]),
        ("skills", [(1e-3, 0.2), (1e-4, 0.2)]),
    ],
)
def test_the_grid_has_the_rates_of_what_is_trained(trained, rates):
    assert list_rates(make_config(trained=trained), "grid") == rates
    config = make_config()
    config = replace(config, train=replace(config.train, validate_every=None, patience=None))
    assert {own.train.validate_every for own in list_trials(config, "grid")} == {50}


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="one of given, fixed, grid, found 'random'"):
        list_trials(make_config(), "random")
