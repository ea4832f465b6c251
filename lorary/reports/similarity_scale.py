"""The colour scale of similarity maps: one of a few ranges, so that maps of libraries can be compared."""

import numpy as np
from numpy.typing import NDArray

SCALES = (0.05, 0.1, 0.2, 0.5, 1.0)


def choose_scale(similarity: NDArray[np.float64]) -> float:
    """Return the smallest of a few ranges that holds the cosines ``[E, E]`` of different experts."""
    others = np.abs(similarity[~np.eye(len(similarity), dtype=bool)])
    largest = float(others.max(initial=0.0))
    return next((scale for scale in SCALES if largest <= scale), SCALES[-1])


def describe_scale(scale: float) -> str:
    """Describe how large the similarities with full colours are."""
    if scale == SCALES[-1]:
        return "A cosine of 1 has the full colour."
    return f"No cosine is larger than {scale:g}, which has the full colour; equal experts would have 1."
