"""Accuracies of choosing among given answers by likelihood.

Letters: C choices of an example.
"""

from collections.abc import Mapping, Sequence
from math import isnan

from lorary.data import Example
from lorary.evaluation.measures.contract import Metric, Request, Response, Score
from lorary.files import say_count

PREFIX = "accuracy_"


class Accuracy:
    """Whether the right choice has the largest log-likelihood: in total, per token and per byte."""

    metrics = (
        Metric(
            name="accuracy_sum",
            title="accuracy, choice by log-likelihood",
            description="whether the right choice has the largest log-likelihood",
        ),
        Metric(
            name="accuracy_per_token",
            title="accuracy, choice by log-likelihood per token",
            description="whether the right choice has the largest log-likelihood per token",
        ),
        Metric(
            name="accuracy_per_byte",
            title="accuracy, choice by log-likelihood per byte",
            description="whether the right choice has the largest log-likelihood per UTF-8 byte",
        ),
    )

    def requests(self, example: Example) -> Sequence[Request]:
        """Request the likelihood of every choice; nothing for an example without choices."""
        return () if example.choices is None else (Score(example.choices),)

    def grade(self, example: Example, responses: Sequence[Response]) -> Mapping[str, float]:
        """Compare the chosen answer with the first target."""
        (scored,) = responses
        assert isinstance(scored, tuple) and example.choices is not None
        chosen = choose_likeliest(
            [found.log_likelihood for found in scored],
            [found.num_tokens for found in scored],
            [len(choice.encode()) for choice in example.choices],
        )
        right = example.targets[0]
        return {PREFIX + way: float(example.choices[index] == right) for way, index in chosen.items()}


def choose_likeliest(
    log_likelihoods: Sequence[float], num_tokens: Sequence[int], num_bytes: Sequence[int]
) -> dict[str, int]:
    """Choose an answer by its log-likelihood: in total, per token and per byte.

    Args:
        log_likelihoods: the summed log-likelihood of each choice's tokens, ``[C]``.
        num_tokens: the number of tokens of each choice, ``[C]``.
        num_bytes: the number of UTF-8 bytes of each choice's text, ``[C]``.

    Returns:
        The index of the chosen answer under ``"sum"``, ``"per_token"`` and ``"per_byte"``; the first one, if
        several are equal.

    Raises:
        ValueError: if the three disagree on C, C is 0, a log-likelihood is NaN, or a length is
            not positive.
    """
    _check_choices(log_likelihoods, num_tokens, num_bytes)
    ones = [1] * len(log_likelihoods)
    divisors = {"sum": ones, "per_token": num_tokens, "per_byte": num_bytes}
    return {way: _find_best(log_likelihoods, lengths) for way, lengths in divisors.items()}


def _find_best(log_likelihoods: Sequence[float], lengths: Sequence[int]) -> int:
    scores = [value / length for value, length in zip(log_likelihoods, lengths, strict=True)]
    return max(range(len(scores)), key=scores.__getitem__)


def _check_choices(
    log_likelihoods: Sequence[float], num_tokens: Sequence[int], num_bytes: Sequence[int]
) -> None:
    counts = len(log_likelihoods), len(num_tokens), len(num_bytes)
    if counts[0] == 0 or len(set(counts)) > 1:
        raise ValueError(
            f"each choice needs a log-likelihood, a token count and a byte count, found {counts[0]!r}, "
            f"{counts[1]!r} and {counts[2]!r} of them"
        )
    for index, (value, tokens, size) in enumerate(zip(log_likelihoods, num_tokens, num_bytes, strict=True)):
        if isnan(value):
            raise ValueError(f"log-likelihoods must be numbers, found NaN for choice {index!r}")
        if tokens < 1 or size < 1:
            raise ValueError(
                f"choice {index!r} must not be empty, found {say_count(tokens, 'token')} and "
                f"{say_count(size, 'byte')}"
            )
