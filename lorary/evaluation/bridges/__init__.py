"""Bridges to other evaluation packages: the tasks of lm-evaluation-harness under lorary's routes.

They need the extra ``lorary[lm-eval]``; names are imported when first used.
"""

from typing import TYPE_CHECKING

from lorary.evaluation.bridges.config import HarnessConfig
from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.evaluation.bridges.harness_run import HarnessOutcome, list_predictions, measure_harness
    from lorary.evaluation.bridges.load_tasks import load_benchmarks
    from lorary.evaluation.bridges.routed_lm import RoutedLM

__all__ = [
    "HarnessConfig",
    "HarnessOutcome",
    "RoutedLM",
    "list_predictions",
    "load_benchmarks",
    "measure_harness",
]

__getattr__ = load_lazily(
    __name__,
    {
        "HarnessOutcome": "harness_run",
        "RoutedLM": "routed_lm",
        "list_predictions": "harness_run",
        "load_benchmarks": "load_tasks",
        "measure_harness": "harness_run",
    },
)
