import math

import pytest

from lorary.data import Example
from lorary.evaluation.measures import Likelihood, Score
from lorary.evaluation.measures.perplexity import Perplexity

MEASURE = Perplexity()


def test_perplexity_is_of_tokens_and_bits_are_per_byte():
    example = Example("in", ("größer",))
    assert MEASURE.requests(example) == (Score(("größer",)),)
    found = MEASURE.grade(example, ((Likelihood(-8 * math.log(2), 4),),))
    assert found == pytest.approx({"perplexity": 4.0, "target_bits_per_byte": 1.0})


def test_an_empty_target_has_none_and_a_huge_loss_stays_finite():
    assert MEASURE.requests(Example("in", ("",))) == ()
    found = MEASURE.grade(Example("in", ("x",)), ((Likelihood(-1e5, 1),),))
    assert math.isfinite(found["perplexity"]) and found["target_bits_per_byte"] == pytest.approx(
        1e5 / math.log(2)
    )
