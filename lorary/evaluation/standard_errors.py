"""Standard errors of means. Letters: n values, T independent means."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray


def standard_error_of_mean(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Return the sample deviation / sqrt(n); None for one value, whose spread is unknown."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / sqrt(len(values)))


def combine_standard_errors(errors: Sequence[float | None]) -> float | None:
    """Return the standard error of the mean of T independent means: sqrt(sum of squared errors) / T.

    None if one of the errors is unknown.
    """
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    return sqrt(sum(error * error for error in known)) / len(known)
