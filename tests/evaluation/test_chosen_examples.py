import pytest

from lorary.data import find_template
from lorary.errors import DataError
from lorary.evaluation import EvalConfig
from lorary.evaluation.chosen_examples import choose_examples


def choose(model, task, **config):
    return choose_examples(model.tokenizer, task.name, task, find_template("plain"), EvalConfig(**config))


def test_as_many_are_chosen_as_the_configuration_says_and_stand_beside_their_tokens(model, tasks):
    found = choose(model, tasks["dates"], num_examples=2)
    assert len(found.examples) == len(found.tokens.examples) == 2
    for example, tokens in zip(found.examples, found.tokens.examples, strict=True):
        assert example.targets[0] in model.tokenizer.decode(tokens.target_ids)


def test_examples_that_are_too_long_are_left_out_and_none_left_is_an_error(model, tasks):
    with pytest.raises(DataError, match=r"task 'dates': none of 5 'test' examples fits in 3 tokens: raise"):
        choose(model, tasks["dates"], max_length=3)
