"""The table of measures, and their metrics by name."""

from collections.abc import Iterable

from lorary.errors import suggest
from lorary.evaluation.measures.accuracy import Accuracy
from lorary.evaluation.measures.contract import Measure, Metric
from lorary.evaluation.measures.exact_match import EXACT_MATCH
from lorary.evaluation.measures.loss import Loss
from lorary.evaluation.measures.perplexity import Perplexity
from lorary.evaluation.measures.rouge_l import ROUGE_L
from lorary.files import quote

MEASURES: dict[str, Measure] = {
    "loss": Loss(),
    "exact_match": EXACT_MATCH,
    "rouge_l": ROUGE_L,
    "accuracy": Accuracy(),
    "perplexity": Perplexity(),
}
"""Name -> measure. Each metric belongs to one measure."""


def list_metrics() -> dict[str, Metric]:
    """Return all metrics by name, in the order of the measures."""
    return {metric.name: metric for measure in MEASURES.values() for metric in measure.metrics}


def find_metric(name: str) -> Metric:
    """Look a metric up by name.

    Raises:
        ValueError: if there is no metric of that name; the message has the nearest names.
    """
    known = list_metrics()
    if name not in known:
        raise ValueError(f"no metric is called {quote(name)}: {suggest(name, known)}")
    return known[name]


def find_measures(metrics: Iterable[str]) -> list[Measure]:
    """Return the measures of some metrics, each once, in the order of the metrics.

    Raises:
        ValueError: if there is no metric of a name.
    """
    found = {}
    for name in metrics:
        find_metric(name)
        for key, measure in MEASURES.items():
            if any(metric.name == name for metric in measure.metrics):
                found[key] = measure
    return list(found.values())


def describe_metrics() -> str:
    """Return a list of all metrics with their descriptions, for help texts."""
    lines = []
    for metric in list_metrics().values():
        direction = "lower" if metric.lower_is_better else "higher"
        lines.append(f"{metric.name} ({metric.description}; {direction} is better)")
    return ", ".join(lines)
