import pytest

from lorary.data import Example
from lorary.evaluation.measures import Likelihood
from lorary.evaluation.measures.loss import Loss


def test_the_loss_is_the_mean_over_the_first_targets_tokens():
    example = Example("what", ("this", "or that"))
    (request,) = Loss().requests(example)
    assert request.answers == ("this",) and request.ends
    assert Loss().grade(example, ((Likelihood(-6.0, 4),),)) == {"loss": pytest.approx(1.5)}
