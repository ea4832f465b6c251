"""Every measure keeps the contract; a new one joins by a row of ``CASES``."""

from dataclasses import dataclass

import pytest

from lorary.data import Example
from lorary.evaluation.measures import MEASURES, Generate, Likelihood, Metric, Score

PLAIN = Example("what is 6 x 7", ("forty two", "42"))
CHOICES = Example("what is 6 x 7", ("forty two",), ("seven", "forty two"))


@dataclass(frozen=True)
class Case:
    """An example, a response that is right, and one that is wrong."""

    example: Example
    right: tuple
    wrong: tuple


CASES = {
    "loss": Case(PLAIN, ((Likelihood(-1.0, 3),),), ((Likelihood(-9.0, 3),),)),
    "exact_match": Case(PLAIN, ("42",), ("seven",)),
    "rouge_l": Case(PLAIN, ("forty two",), ("seven",)),
    "perplexity": Case(PLAIN, ((Likelihood(-1.0, 3),),), ((Likelihood(-9.0, 3),),)),
    "accuracy": Case(
        CHOICES,
        ((Likelihood(-9.0, 1), Likelihood(-1.0, 2)),),
        ((Likelihood(-1.0, 1), Likelihood(-9.0, 2)),),
    ),
}


def test_every_measure_has_its_case():
    assert CASES.keys() == MEASURES.keys()


@pytest.fixture(params=CASES)
def name(request):
    return request.param


def test_requests_are_the_same_each_time_and_leave_the_example_alone(name):
    example = CASES[name].example
    before = repr(example)
    first = tuple(MEASURES[name].requests(example))
    assert first and all(isinstance(request, Score | Generate) for request in first)
    assert tuple(MEASURES[name].requests(example)) == first
    assert len(first) == len(CASES[name].right)
    assert repr(example) == before


def test_grades_are_finite_numbers_for_all_its_metrics(name):
    case, measure = CASES[name], MEASURES[name]
    for responses in (case.right, case.wrong):
        grades = measure.grade(case.example, responses)
        assert grades == measure.grade(case.example, responses)
        assert list(grades) == [metric.name for metric in measure.metrics]
        assert all(isinstance(value, float) and abs(value) < 1e6 for value in grades.values())


def test_a_right_response_is_better_by_every_metric_in_its_direction(name):
    case, measure = CASES[name], MEASURES[name]
    right, wrong = (measure.grade(case.example, responses) for responses in (case.right, case.wrong))
    for metric in measure.metrics:
        sign = -1 if metric.lower_is_better else 1
        assert sign * right[metric.name] > sign * wrong[metric.name]


def test_titles_and_descriptions_are_one_line(name):
    for metric in MEASURES[name].metrics:
        assert "\n" not in metric.title + metric.description
        assert not metric.description.endswith(".")


@pytest.mark.parametrize("name", ["", "../x", ".x", "a b", "a\nb", "x" * 65, "\u202ex"])
def test_a_metric_whose_name_cannot_be_part_of_a_file_name_is_refused(name):
    with pytest.raises(ValueError, match="a metric's name must be letters, digits"):
        Metric(name=name, title="x", description="y")


@pytest.mark.parametrize("text", ["", " ", "a\nb", "\x1b[31m", "x" * 201])
def test_a_title_or_description_that_is_no_visible_line_is_refused(text):
    for part in ("title", "description"):
        with pytest.raises(
            ValueError, match="'pass@1' must have a title and a description of one visible line"
        ):
            Metric(**{"name": "pass@1", "title": "x", "description": "y", part: text})
