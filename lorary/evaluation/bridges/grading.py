"""Grading the responses to documents by the harness's own filters and metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from lm_eval.api.instance import Instance

from lorary.evaluation.bridges.documents import Document
from lorary.evaluation.bridges.local_task import LocalTask

# The filter that changes nothing.
NO_FILTER = "none"


@dataclass(frozen=True)
class Grade:
    """The harness's grade of one document with one route."""

    document: Document
    """The document."""
    values: dict[str, Any]
    """Metric -> its value for the document, as the harness aggregates it."""
    responses: list[Any]
    """The model's response to each request: a text, or a log-likelihood and whether greedy decoding
    produces the answer; a list for several responses."""
    answers: dict[str, list[Any]]
    """Filter -> the filtered responses."""

    def number(self, metric: str) -> float:
        """Return a metric's value as a number.

        The harness has pairs for some metrics, such as a likelihood and a length. Their number is the
        aggregate of this one document.
        """
        value = self.values[metric]
        if isinstance(value, Real):
            return float(value)
        return float(self.document.task.aggregation()[metric.partition(",")[0]]([value]))


def grade_documents(documents: Sequence[Document], responses: dict[int, list[Any]]) -> list[Grade]:
    """Grade documents.

    Args:
        documents: the documents.
        responses: ``id`` of a request -> the responses to it.

    Returns:
        A grade for each document, in order. A metric of a filter is named ``metric,filter`` if there is a
        filter.
    """
    by_task: dict[LocalTask, list[Document]] = {}
    for document in documents:
        by_task.setdefault(document.task, []).append(document)
    graded = [grade for task, own in by_task.items() for grade in _grade(task, own, responses)]
    found = {id(grade.document): grade for grade in graded}
    return [found[id(document)] for document in documents]


def _grade(
    task: LocalTask, documents: Sequence[Document], responses: dict[int, list[Any]]
) -> Iterator[Grade]:
    requests = [request for document in documents for request in document.requests]
    for request in requests:
        request.resps, request.filtered_resps = list(responses[id(request)]), {}
    task._instances = requests
    task.apply_filters()
    for document in documents:
        values: dict[str, Any] = {}
        answers = _list_answers(document.requests)
        for name, own in answers.items():
            suffix = "" if name == NO_FILTER else f",{name}"
            for metric, value in task.process_results(document.doc, list(own)).items():
                values[f"{metric}{suffix}"] = value
        given = [responses[id(request)] for request in document.requests]
        yield Grade(document, values, [each[0] if len(each) == 1 else each for each in given], answers)


def _list_answers(requests: Sequence[Instance]) -> dict[str, list[Any]]:
    return {name: [each.filtered_resps[name] for each in requests] for name in requests[0].filtered_resps}
