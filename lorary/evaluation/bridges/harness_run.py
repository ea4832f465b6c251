"""Measuring routes on tasks of lm-evaluation-harness, with base model and experts loaded once."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lm_eval import __version__ as harness_version

from lorary.assembly import RoutedModel
from lorary.errors import DataError
from lorary.evaluation.bridges.config import USED, HarnessConfig
from lorary.evaluation.bridges.documents import Document, choose_documents, count_shared, list_requests
from lorary.evaluation.bridges.grading import NO_FILTER, Grade, grade_documents
from lorary.evaluation.bridges.load_tasks import Benchmark
from lorary.evaluation.bridges.routed_lm import RoutedLM
from lorary.evaluation.columns import Record
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.items import Item
from lorary.evaluation.measures import Metric, list_metrics
from lorary.evaluation.predictions import Prediction
from lorary.evaluation.responding import Responder
from lorary.evaluation.response_store import ResponseStore
from lorary.evaluation.result import Result
from lorary.evaluation.routes import Route
from lorary.evaluation.run_header import describe_run
from lorary.evaluation.running import (
    EvalEvent,
    check_routes_differ,
    describe_choices,
    describe_model,
    describe_route,
)
from lorary.files import quote


@dataclass(frozen=True)
class HarnessOutcome:
    """The results of routes on benchmarks, with all grades."""

    result: Result
    """A value for each document. A group of tasks counts as one task, with the documents of all its tasks."""
    grades: Mapping[str, Sequence[Grade]]
    """Route -> a grade for each document, with the same documents in the same order for all routes."""


def measure_harness(
    model: RoutedModel,
    benchmarks: Sequence[Benchmark],
    routes: Sequence[Route],
    config: EvalConfig | None = None,
    harness: HarnessConfig | None = None,
    *,
    has_chat_template: bool = False,
    template_args: Mapping[str, Any] | None = None,
    data_digests: Mapping[str, str] | None = None,
    store: ResponseStore | None = None,
    on_progress: Callable[[EvalEvent], None] | None = None,
) -> HarnessOutcome:
    """Measure each route on documents of each benchmark.

    Args:
        model: the model; it is not changed.
        benchmarks: tasks and groups, from ``load_benchmarks``.
        routes: the routes, see ``make_routes``; tasks have the harness's names.
        config: the number of documents, the seed of their choice, and sizes of passes and batches.
        harness: how the tasks are run.
        has_chat_template: whether prompts are conversations in the tokenizer's chat template.
        template_args: arguments of the chat template.
        data_digests: file -> SHA-256, for the header.
        store: earlier answers, to which new ones are added; None for no store.
        on_progress: called after each batch, with numbers of requests.

    Returns:
        The result. Its metrics have the harness's names, see ``name_metric``.

    Raises:
        DataError: if no prompt can be made from a row, an answer does not fit the model, or there is no chat
            template.
        ValueError: if there is no route, or two have the same name.
    """
    config, harness = config or EvalConfig(), harness or HarnessConfig()
    check_routes_differ([route.name for route in routes])
    if has_chat_template and not model.tokenizer.chat_template:
        raise DataError(
            f"the tokenizer of base model {quote(model.base.name)} has no chat template: use --template plain"
        )
    responder = Responder(model, config, store)
    told = {"max_length": harness.max_length, "max_new_tokens": harness.max_new_tokens}
    lm = RoutedLM(model, routes[0], config, **told, template_args=template_args, responder=responder)
    documents = choose_documents(
        benchmarks,
        lm,
        num_examples=config.num_examples,
        seed=config.seed,
        has_chat_template=has_chat_template,
    )
    grades: dict[str, list[Grade]] = {}
    num_empty: Counter[str] = Counter()
    progress = _Progress(documents, len(routes), on_progress)
    for route in routes:
        lm.route = route
        responses = _respond(lm, documents, responder, progress)
        num_empty.update(_count_empty(documents, responses))
        grades[route.name] = grade_documents(documents, responses)
    settings = {
        **describe_model(model, responder.identity if store is not None else None),
        "lm_eval": harness_version,
        "chat template": "on" if has_chat_template else "off",
        "evaluation": {name: getattr(config, name) for name in USED},
        "harness": asdict(harness),
        "max_length": lm.max_length,
        "num_fewshot": {each.task.task_name: each.task.config.num_fewshot for each in documents},
        "routes": [describe_route(route) for route in routes],
        "examples": dict(Counter(document.benchmark for document in documents)),
        "cut": dict(+lm.num_cut),
        "empty": dict(+num_empty),
        "shared": count_shared(documents),
        "data": dict(data_digests or {}),
    }
    header = describe_run(seeds={"examples": config.seed}, settings=settings)
    attachments = {
        "harness": {route: _aggregate(graded) for route, graded in grades.items()},
        **describe_choices(responder, lm.items),
    }
    return HarnessOutcome(_gather(grades, header, attachments, has_chat_template), grades)


def list_predictions(outcome: HarnessOutcome) -> Iterator[Prediction]:
    """List what each route answered to each document."""
    for route, graded in outcome.grades.items():
        for grade in graded:
            document = grade.document
            task = document.task
            yield Prediction(
                task=document.benchmark,
                part=None if task.task_name == document.benchmark else task.task_name,
                id=document.example_id,
                route=route,
                prompts=list(dict.fromkeys(str(request.args[0]) for request in document.requests)),
                targets=[str(task.doc_to_target(document.doc))],
                responses=grade.responses,
                values={name_metric(name): grade.number(name) for name in grade.values},
            )


class _Progress:
    """Reports finished requests of all routes."""

    def __init__(
        self, documents: Sequence[Document], num_routes: int, listener: Callable[[EvalEvent], None] | None
    ):
        self._total = num_routes * sum(1 for _ in list_requests(documents))
        self._done = 0
        self._listener = listener

    def show(self, route: str, number: int) -> None:
        """Show a number of requests beyond those that were added."""
        if self._listener is not None:
            self._listener(EvalEvent(route, min(self._done + number, self._total), self._total))

    def add(self, route: str, number: int) -> None:
        """Add finished requests."""
        self._done += number
        self.show(route, 0)


def _respond(
    lm: RoutedLM, documents: Sequence[Document], responder: Responder, progress: _Progress
) -> dict[int, list[Any]]:
    """Let a model answer all requests; returns ``id`` of a request -> its responses."""
    by_kind: dict[str, list[Any]] = {}
    for request in list_requests(documents):
        by_kind.setdefault(request.request_type, []).append(request)
    found: dict[int, list[Any]] = {}
    for kind, requests in by_kind.items():
        shown = 0

        def show(items: Sequence[Item]) -> None:
            nonlocal shown
            shown += len(items)
            progress.show(lm.route.name, shown)

        responder.on_items = show
        for request, response in zip(requests, getattr(lm, kind)(requests), strict=True):
            found.setdefault(id(request), []).append(response)
        progress.add(lm.route.name, len(requests))
    return found


def _count_empty(documents: Sequence[Document], responses: Mapping[int, Sequence[Any]]) -> Counter[str]:
    """Count the answers without a visible character: task -> number."""
    found: Counter[str] = Counter()
    for document in documents:
        texts = [text for request in document.requests for text in responses[id(request)]]
        found[document.task.task_name] += sum(isinstance(text, str) and not text.strip() for text in texts)
    return found


def _gather(
    grades: Mapping[str, Sequence[Grade]],
    header: Mapping[str, Any],
    attachments: Mapping[str, Any],
    has_chat_template: bool,
) -> Result:
    """Gather the grades into a result."""
    on = "on" if has_chat_template else "off"
    records: list[Record] = []
    metrics: dict[str, Metric] = {}
    for route, graded in grades.items():
        seen: Counter[tuple[str, str]] = Counter()
        for grade in graded:
            document = grade.document
            seen[document.benchmark, document.example_id] += 1
            number = seen[document.benchmark, document.example_id]
            example_id = document.example_id + (f"-{number}" if number > 1 else "")
            for metric in grade.values:
                name = name_metric(metric)
                metrics.setdefault(name, _describe(name, grade, metric, on))
                records.append(Record(document.benchmark, route, name, grade.number(metric), example_id))
    return Result.from_records(records, header, attachments, metrics.values())


def name_metric(metric: str) -> str:
    """Name a metric of the harness, with a full stop before its filter.

    The filter is left out if there is none, unless lorary has another metric of that name.
    """
    name = metric.replace(",", ".")
    return f"{name}.{NO_FILTER}" if name in list_metrics() else name


def _describe(name: str, grade: Grade, metric: str, on: str) -> Metric:
    higher = grade.document.task.higher_is_better().get(metric.partition(",")[0], True)
    return Metric(
        name=name,
        title=f"{name}, lm-eval {harness_version}, chat template {on}",
        description=f"{name} of lm-evaluation-harness {harness_version}, chat template {on}",
        lower_is_better=not higher,
    )


def _aggregate(grades: Sequence[Grade]) -> dict[str, dict[str, float]]:
    """Aggregate by the harness's own functions: task -> metric -> number."""
    values: dict[str, dict[str, list[Any]]] = {}
    functions: dict[str, Mapping[str, Any]] = {}
    for grade in grades:
        task = grade.document.task
        functions[task.task_name] = task.aggregation()
        for metric, value in grade.values.items():
            values.setdefault(task.task_name, {}).setdefault(metric, []).append(value)
    return {
        task: {metric: float(functions[task][metric.partition(",")[0]](each)) for metric, each in own.items()}
        for task, own in values.items()
    }
