"""Measuring what a model is worth: metrics, one table of results, fair comparisons, pictures of routing."""

from lorary.evaluation.compare import Difference, compare_routes, paired_difference
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.evaluate import EvalProgress, evaluate
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
from lorary.evaluation.routes import Route, check_routes, find_routes, match_experts
from lorary.evaluation.routing_picture import RoutedSample, RoutedToken, write_routing_html
from lorary.evaluation.run_header import describe_run
from lorary.evaluation.tables import difference_grid, render_markdown, render_table, result_grid
from lorary.evaluation.usage_plot import plot_usage

__all__ = [
    "METRICS",
    "Difference",
    "EvalConfig",
    "EvalProgress",
    "Metric",
    "Overall",
    "Record",
    "Result",
    "Route",
    "RoutedSample",
    "RoutedToken",
    "accuracy",
    "check_routes",
    "choice_scores",
    "compare_routes",
    "describe_run",
    "difference_grid",
    "evaluate",
    "exact_match",
    "find_metric",
    "find_routes",
    "match_experts",
    "normalize_answer",
    "paired_difference",
    "plot_usage",
    "render_markdown",
    "render_table",
    "result_grid",
    "rouge_l",
    "write_routing_html",
]
