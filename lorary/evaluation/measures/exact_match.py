"""Exact match: the model's answer equals one of the targets."""

import re
from collections.abc import Sequence

from lorary.evaluation.measures.answer_measure import AnswerMeasure
from lorary.evaluation.measures.contract import Metric
from lorary.evaluation.measures.targets import check_targets


def exact_match(prediction: str, targets: Sequence[str]) -> float:
    """Return whether a prediction equals one of the targets, both after ``normalize_answer``.

    Returns:
        1.0 or 0.0.

    Raises:
        ValueError: if there is no target.
    """
    check_targets(targets)
    answer = normalize_answer(prediction)
    return float(any(answer == normalize_answer(target) for target in targets))


def normalize_answer(text: str) -> str:
    """Normalise an answer for comparison.

    Case is folded, runs of white space become one space, both ends are stripped, and one period after a word
    at the end is removed. A period after another sign is kept, as in Morse code.
    """
    folded = " ".join(text.casefold().split())
    return re.sub(r"(?<=\w)\.$", "", folded)


EXACT_MATCH = AnswerMeasure(
    metric=Metric(
        name="exact_match",
        title="exact match",
        description="whether the answer equals a target, apart from case, spacing and a final period",
    ),
    compare=exact_match,
)
