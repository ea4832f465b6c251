"""The scores of a router that chooses experts once per request, as plain data for drawing."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RequestScores:
    """The scores with which a router chose experts for the requests of a task, as means over the requests."""

    scores: Mapping[str, float]
    """Expert -> its score, the best first."""
    margin: float
    """The best score of a request minus its fourth best, or minus the last of fewer experts."""
