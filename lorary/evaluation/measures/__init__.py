"""Measures: a file and a line of ``MEASURES`` for each."""

from lorary.evaluation.measures.contract import (
    Generate,
    Likelihood,
    Measure,
    Metric,
    Request,
    Response,
    Score,
)
from lorary.evaluation.measures.table import (
    MEASURES,
    describe_metrics,
    find_measures,
    find_metric,
    list_metrics,
)

__all__ = [
    "MEASURES",
    "Generate",
    "Likelihood",
    "Measure",
    "Metric",
    "Request",
    "Response",
    "Score",
    "describe_metrics",
    "find_measures",
    "find_metric",
    "list_metrics",
]
