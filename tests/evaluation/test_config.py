import pytest

from lorary.evaluation import EvalConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("los",)}, "no metric is called 'los': did you mean 'loss'"),
        ({"metrics": ()}, "metrics must name one or more, each once"),
        ({"metrics": ("loss", "loss")}, "metrics must name one or more, each once"),
        ({"num_examples": 0}, "num_examples must be at least 1, not 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, not -1"),
        ({"batch_size": 2.5}, "batch_size must be a whole number, not 2.5"),
        ({"max_length": None}, "max_length must be a whole number, not None"),
        ({"max_new_tokens": "3"}, "max_new_tokens must be a whole number, not '3'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EvalConfig(**options)


def test_all_examples_may_be_taken():
    assert EvalConfig(num_examples=None).num_examples is None
