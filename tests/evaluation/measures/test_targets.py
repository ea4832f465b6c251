import pytest

from lorary.evaluation.measures.exact_match import exact_match
from lorary.evaluation.measures.rouge_l import rouge_l


@pytest.mark.parametrize("score", [exact_match, rouge_l])
def test_an_answer_without_targets_is_refused(score):
    with pytest.raises(ValueError, match="needs at least one target"):
        score("x", [])
    with pytest.raises(TypeError, match="found the single text 'abc'"):
        score("x", "abc")
