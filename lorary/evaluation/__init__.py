"""Evaluation: measures, routes, results, and comparisons on the same examples.

Modules that run a model are imported when first used, so that results can be shown without PyTorch.
"""

from typing import TYPE_CHECKING

from lorary.evaluation.columns import Record
from lorary.evaluation.compare import Difference, choose_reference, compare_routes, paired_difference
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.measures import MEASURES, describe_metrics
from lorary.evaluation.result import Result
from lorary.evaluation.run_header import describe_run
from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.evaluation.routes import Route, check_routes, make_routes
    from lorary.evaluation.routing_survey import RoutingSurvey, survey_routing
    from lorary.evaluation.running import EvalEvent, evaluate

__all__ = [
    "MEASURES",
    "Difference",
    "EvalConfig",
    "EvalEvent",
    "Record",
    "Result",
    "Route",
    "RoutingSurvey",
    "check_routes",
    "choose_reference",
    "compare_routes",
    "describe_metrics",
    "describe_run",
    "evaluate",
    "make_routes",
    "paired_difference",
    "survey_routing",
]

__getattr__ = load_lazily(
    __name__,
    {
        "EvalEvent": "running",
        "Route": "routes",
        "RoutingSurvey": "routing_survey",
        "check_routes": "routes",
        "evaluate": "running",
        "make_routes": "routes",
        "survey_routing": "routing_survey",
    },
)
