from dataclasses import replace

import pytest

from lorary.data import Example, find_template
from lorary.errors import DataError
from lorary.evaluation import EvalConfig
from lorary.evaluation.chosen_examples import choose_examples, identify_examples


def choose(model, task, **config):
    return choose_examples(model.tokenizer, task.name, task, find_template("plain"), EvalConfig(**config))


def test_as_many_are_chosen_as_the_configuration_says_and_stand_beside_their_tokens(model, tasks):
    found = choose(model, tasks["dates"], num_examples=2)
    assert len(found.examples) == len(found.tokens.examples) == 2
    for example, tokens in zip(found.examples, found.tokens.examples, strict=True):
        assert example.targets[0] in model.tokenizer.decode(tokens.target_ids)


def test_examples_that_are_too_long_are_left_out_and_none_left_is_an_error(model, tasks):
    with pytest.raises(
        DataError, match=r"task 'dates' must have a 'test' example of at most 3 tokens, none of 5 fits: raise"
    ):
        choose(model, tasks["dates"], max_length=3)


def test_an_id_is_the_examples_own_wherever_it_stands():
    one, two = Example("day 3", ("a",)), Example("day 4", ("a",))
    ids = identify_examples([one, two])
    assert identify_examples([two, one]) == ids[::-1]
    assert identify_examples([one]) == ids[:1]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    "change", [{"input": "night 3"}, {"targets": ("b",)}, {"choices": ("a", "b")}, {"definition": "x"}]
)
def test_examples_that_differ_have_different_ids(change):
    example = Example("day 3", ("a",))
    assert len(set(identify_examples([example, replace(example, **change)]))) == 2


def test_equal_examples_are_told_apart_by_a_number():
    first, second, third = identify_examples([Example("day 3", ("a",))] * 3)
    assert (second, third) == (first + "-2", first + "-3")
