"""Evaluation: measures, routes, results, and comparisons on the same examples.

Modules that run a model are imported when first used, so that results can be shown without PyTorch.
"""

from typing import TYPE_CHECKING

from lorary.evaluation.compare import Difference, choose_reference, compare_routes
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.result import Result
from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.evaluation.routes import Route, make_routes
    from lorary.evaluation.running import evaluate

__all__ = [
    "Difference",
    "EvalConfig",
    "Result",
    "Route",
    "choose_reference",
    "compare_routes",
    "evaluate",
    "make_routes",
]

__getattr__ = load_lazily(
    __name__,
    {
        "Route": "routes",
        "evaluate": "running",
        "make_routes": "routes",
    },
)
