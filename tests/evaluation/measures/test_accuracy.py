from math import inf, nan

import pytest

from lorary.data import Example
from lorary.evaluation.measures import Likelihood, Score
from lorary.evaluation.measures.accuracy import PREFIX, Accuracy, choose_likeliest

EXAMPLE = Example("which", ("b",), ("aa", "b", "cccccccccc"))


def test_a_choice_is_made_by_sum_by_token_and_by_byte():
    # sums -4, -6, -9; per token -4, -2, -3; per byte -2, -1.5, -0.9
    chosen = choose_likeliest([-4.0, -6.0, -9.0], [1, 3, 3], [2, 4, 10])
    assert chosen == {"sum": 0, "per_token": 1, "per_byte": 2}


def test_of_equal_choices_the_first_is_taken():
    assert choose_likeliest([-inf, -1.0, -1.0], [1, 1, 1], [1, 1, 1]) == {
        "sum": 1,
        "per_token": 1,
        "per_byte": 1,
    }


def test_shifting_no_length_leaves_all_three_choices_equal():
    chosen = choose_likeliest([-3.0, -2.0, -5.0], [4, 4, 4], [9, 9, 9])
    assert set(chosen.values()) == {1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([-1.0, nan], [1, 1], [1, 1]), "found NaN for choice 1"),
        (([-1.0], [0], [1]), "choice 0 must not be empty, found 0 tokens and 1 byte"),
        (([-1.0], [1], [0]), "choice 0 must not be empty, found 1 token and 0 bytes"),
        (([-1.0, -2.0], [1], [1, 1]), "found 2, 1 and 2 of them"),
        (([], [], []), "found 0, 0 and 0 of them"),
    ],
)
def test_choices_that_cannot_be_compared_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_likeliest(*arguments)


def test_accuracy_is_one_only_for_the_right_choice():
    # The chosen: by sum "aa", per token "b" and per byte the last.
    responses = ((Likelihood(-4.0, 1), Likelihood(-6.0, 6), Likelihood(-9.0, 3)),)
    assert Accuracy().requests(EXAMPLE) == (Score(EXAMPLE.choices),)
    assert Accuracy().grade(EXAMPLE, responses) == {
        "accuracy_sum": 0.0,
        "accuracy_per_token": 1.0,
        "accuracy_per_byte": 0.0,
    }


def test_an_example_without_choices_is_not_asked_about():
    assert Accuracy().requests(Example("what", ("b",))) == ()


def test_every_way_to_choose_has_its_metric():
    ways = choose_likeliest([-1.0], [1], [1])
    assert [metric.name for metric in Accuracy.metrics] == [PREFIX + way for way in ways]
