"""Measuring what a model is worth: metrics, one table of results, fair comparisons, pictures of routing."""

from lorary.evaluation.compare import Difference, compare_routes, paired_difference
from lorary.evaluation.metrics import (
    METRICS,
    Metric,
    accuracy,
    choice_scores,
    exact_match,
    find_metric,
    normalize_answer,
    rouge_l,
)
from lorary.evaluation.result import Overall, Record, Result
from lorary.evaluation.routing_picture import RoutedSample, RoutedToken, write_routing_html
from lorary.evaluation.run_header import describe_run
from lorary.evaluation.tables import difference_grid, render_markdown, render_table, result_grid
from lorary.evaluation.usage_plot import plot_usage

__all__ = [
    "METRICS",
    "Difference",
    "Metric",
    "Overall",
    "Record",
    "Result",
    "RoutedSample",
    "RoutedToken",
    "accuracy",
    "choice_scores",
    "compare_routes",
    "describe_run",
    "difference_grid",
    "exact_match",
    "find_metric",
    "normalize_answer",
    "paired_difference",
    "plot_usage",
    "render_markdown",
    "render_table",
    "result_grid",
    "rouge_l",
    "write_routing_html",
]
