"""ROUGE-L: the overlap of the model's answer with a target, by their longest common subsequence of words."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from lorary.evaluation.measures.answer_measure import AnswerMeasure
from lorary.evaluation.measures.contract import Metric
from lorary.evaluation.measures.targets import check_targets


def rouge_l(prediction: str, targets: Sequence[str]) -> float:
    """Return the F-measure of the longest common subsequence of stemmed words, the best over the targets.

    It is computed by the ``rouge-score`` package as in Super-NaturalInstructions, between 0 and 1. Words are
    runs of ASCII letters and digits. A right answer without any (Morse code, Chinese) therefore has 0; use
    ``exact_match`` for such tasks.

    Raises:
        ValueError: if there is no target.

    Source: ROUGE (Lin, 2004); settings of Super-NaturalInstructions, arXiv:2204.07705.
    """
    check_targets(targets)
    scorer = _build_scorer()
    return max(float(scorer.score(target, prediction)["rougeL"].fmeasure) for target in targets)


@cache
def _build_scorer() -> Any:
    # Imported at first use, because it imports all of nltk.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


ROUGE_L = AnswerMeasure(
    metric=Metric(
        name="rouge_l",
        title="ROUGE-L",
        description="F-measure of the longest common subsequence of words, best over the targets",
    ),
    compare=rouge_l,
)
