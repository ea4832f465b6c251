import pytest

from lorary.training import SkillConfig, TrainConfig


def test_the_defaults_are_the_published_ones():
    config = SkillConfig(train=TrainConfig(max_steps=1))
    assert (config.num_skills, config.num_splits, config.granularity) == (8, 1, "linear")
    assert (config.weighting, config.table_learning_rate, config.train.learning_rate) == (
        "relaxed",
        0.1,
        1e-3,
    )


def test_all_faults_are_named_at_once():
    message = (
        "configuration of skills: .*num_skills.*num_splits.*shared_skill.*table_learning_rate.*"
        "granularity must be one of model, block, layer, linear, found 'head'; "
        "weighting must be one of relaxed, sigmoid, straight_through, found 'hard'"
    )
    with pytest.raises(ValueError, match=message):
        SkillConfig(
            train=TrainConfig(max_steps=1),
            num_skills=0,
            num_splits=1.5,
            granularity="head",
            weighting="hard",
            shared_skill=1,
            table_learning_rate=0.0,
        )
