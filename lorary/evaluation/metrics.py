"""Metrics of one example: what an answer is worth, and which way is better.

Letters: C choices of a multiple-choice example.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan
from typing import Any

from lorary.errors import suggest
from lorary.files import quote


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One column of numbers: its name for readers, its direction, and how generated text earns it."""

    title: str
    """What the number is, in a few words."""
    lower_is_better: bool = False
    """Whether a smaller number is the better one."""
    score_text: Callable[[str, Sequence[str]], float] | None = None
    """``(prediction, targets) -> float``, or None where the number comes from likelihoods."""


def normalize_answer(text: str) -> str:
    """Bring an answer to the form in which two answers are compared.

    Case is folded, each run of white space becomes one blank, the ends are stripped, and one
    period after a word at the end is dropped (not one after a sign: Morse code keeps its dots).
    """
    folded = " ".join(text.casefold().split())
    return re.sub(r"(?<=\w)\.$", "", folded)


def exact_match(prediction: str, targets: Sequence[str]) -> float:
    """Tell whether a prediction equals one of the targets, both after ``normalize_answer``.

    Returns:
        1.0 or 0.0.

    Raises:
        ValueError: if there is no target.
    """
    _check_targets(targets)
    answer = normalize_answer(prediction)
    return float(any(answer == normalize_answer(target) for target in targets))


def rouge_l(prediction: str, targets: Sequence[str]) -> float:
    """Score the longest common subsequence of stemmed words, the best over the targets.

    The F-measure of the ``rouge-score`` package as Super-NaturalInstructions uses it, between 0
    and 1. Words are runs of ASCII letters and digits: an answer without any (Morse code, Chinese)
    earns 0 even where it is right, so ask ``exact_match`` there.

    Raises:
        ValueError: if there is no target.

    Source: ROUGE (Lin, 2004); settings of Super-NaturalInstructions, arXiv:2204.07705.
    """
    _check_targets(targets)
    scorer = _rouge_scorer()
    return max(float(scorer.score(target, prediction)["rougeL"].fmeasure) for target in targets)


def choice_scores(
    log_likelihoods: Sequence[float], num_tokens: Sequence[int], num_bytes: Sequence[int]
) -> dict[str, int]:
    """Choose an answer by its log-likelihood, whole, per token and per byte.

    Args:
        log_likelihoods: the summed log-likelihood of each choice's tokens, ``[C]``.
        num_tokens: the tokens that each sum runs over, ``[C]``.
        num_bytes: the UTF-8 bytes of each choice's text, ``[C]``.

    Returns:
        The index of the chosen answer under ``"sum"``, ``"per_token"`` and ``"per_byte"``; of
        equal choices the first.

    Raises:
        ValueError: if the three disagree on C, C is 0, a log-likelihood is NaN, or a length is
            not positive.
    """
    _check_choices(log_likelihoods, num_tokens, num_bytes)
    ones = [1] * len(log_likelihoods)
    divisors = {"sum": ones, "per_token": num_tokens, "per_byte": num_bytes}
    return {name: _best_index(log_likelihoods, lengths) for name, lengths in divisors.items()}


def accuracy(predicted: int, answer: int) -> float:
    """Tell whether the chosen index is the right one: 1.0 or 0.0."""
    return float(predicted == answer)


METRICS: Mapping[str, Metric] = {
    "loss": Metric(title="loss, nats per target token", lower_is_better=True),
    "exact_match": Metric(title="exact match", score_text=exact_match),
    "rouge_l": Metric(title="ROUGE-L", score_text=rouge_l),
    "accuracy_sum": Metric(title="accuracy, choice by log-likelihood"),
    "accuracy_per_token": Metric(title="accuracy, choice by log-likelihood per token"),
    "accuracy_per_byte": Metric(title="accuracy, choice by log-likelihood per byte"),
}


def find_metric(name: str) -> Metric:
    """Look a metric up by name.

    Raises:
        ValueError: if there is none of that name; the message says which there are.
    """
    if name not in METRICS:
        raise ValueError(f"no metric is called {quote(name)}: {suggest(name, METRICS)}")
    return METRICS[name]


@cache
def _rouge_scorer() -> Any:
    # Imported at first use: it brings all of nltk along.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


def _best_index(log_likelihoods: Sequence[float], lengths: Sequence[int]) -> int:
    scores = [value / length for value, length in zip(log_likelihoods, lengths, strict=True)]
    return max(range(len(scores)), key=scores.__getitem__)


def _check_targets(targets: Sequence[str]) -> None:
    if isinstance(targets, str):
        raise TypeError(f"targets must be a sequence of texts, found the single text {quote(targets)}")
    if not targets:
        raise ValueError("an answer needs at least one target to be scored against, found none")


def _check_choices(
    log_likelihoods: Sequence[float], num_tokens: Sequence[int], num_bytes: Sequence[int]
) -> None:
    counts = len(log_likelihoods), len(num_tokens), len(num_bytes)
    if counts[0] == 0 or len(set(counts)) > 1:
        raise ValueError(
            f"each choice needs a log-likelihood, a token count and a byte count; found {counts[0]!r}, "
            f"{counts[1]!r} and {counts[2]!r} of them"
        )
    for index, (value, tokens, size) in enumerate(zip(log_likelihoods, num_tokens, num_bytes, strict=True)):
        if isnan(value):
            raise ValueError(f"the log-likelihood of choice {index!r} is NaN")
        if tokens < 1 or size < 1:
            raise ValueError(f"choice {index!r} is empty: it has {tokens!r} tokens and {size!r} bytes")
