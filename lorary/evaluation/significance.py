"""Significance of differences: p-values, their correction for several comparisons, detectable differences.

Letters: T tasks, n examples of a task, C comparisons.
"""

from collections.abc import Sequence
from math import sqrt

# Standard errors from zero to a difference that is found with a probability of 80% by a two-sided test
# at 5%: the quantiles 97.5% and 80% of the normal distribution.
DETECTABLE_ERRORS = 1.959964 + 0.841621
LEVEL = 0.05


def two_sided_p(mean: float, errors: Sequence[float | None], counts: Sequence[int]) -> float | None:
    """Compute the p-value of a mean over tasks of paired differences, by Student's t.

    Args:
        mean: over T tasks with the same weight.
        errors: standard error of each task's mean, ``[T]``; None if unknown.
        counts: n of each task, ``[T]``.

    Returns:
        The probability of a mean at least as far from zero if there is no difference; None if an error is
        unknown. If all examples have the same difference, it is that of the sign test, since a spread of
        zero in a few examples does not prove that there is none.

    Source: degrees of freedom of Welch and Satterthwaite (1946).
    """
    variances = [error * error for error in errors if error is not None]
    if len(variances) < len(errors):
        return None
    total = sum(variances)
    if total == 0:
        return 1.0 if mean == 0 else min(1.0, 2 * 0.5 ** sum(counts))
    freedom = total * total / sum(v * v / (n - 1) for v, n in zip(variances, counts, strict=True))
    # Imported at first use, because results are also shown without it.
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(mean) * len(errors) / sqrt(total)))


def adjust_by_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct the p-values of C comparisons by Holm's method; unknown ones stay unknown and do not count.

    After the correction, the probability that any of the C comparisons without a
    difference is below a level is at most that level.

    Source: Holm (1979).
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted


def find_detectable(standard_error: float | None) -> float | None:
    """Return the smallest difference that a comparison of this size finds with a probability of 80%.

    None if the error is unknown, or 0: examples with the same difference do not show how far others differ.
    """
    return DETECTABLE_ERRORS * standard_error if standard_error else None
