"""Measuring what a model is worth: metrics, one table of results, fair comparisons.

What runs a model is loaded when first used, so that results can be shown without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorary.evaluation.compare import Difference, compare_routes, paired_difference
from lorary.evaluation.config import EvalConfig
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
from lorary.evaluation.run_header import describe_run

if TYPE_CHECKING:
    from lorary.evaluation.measure import EvalProgress, evaluate
    from lorary.evaluation.routes import Route, check_routes, find_routes, match_experts
    from lorary.evaluation.routing_survey import RoutingSurvey, survey_routing

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
    "RoutingSurvey",
    "accuracy",
    "check_routes",
    "choice_scores",
    "compare_routes",
    "describe_run",
    "evaluate",
    "exact_match",
    "find_metric",
    "find_routes",
    "match_experts",
    "normalize_answer",
    "paired_difference",
    "rouge_l",
    "survey_routing",
]

_LOADED_WHEN_USED = {
    "EvalProgress": "measure",
    "Route": "routes",
    "RoutingSurvey": "routing_survey",
    "check_routes": "routes",
    "evaluate": "measure",
    "find_routes": "routes",
    "match_experts": "routes",
    "survey_routing": "routing_survey",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LOADED_WHEN_USED[name]}"), name)
