"""Running an evaluation: many routes on many tasks, with base model and experts loaded once."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from lorary.assembly import RoutedModel
from lorary.data import Task, TaskLike, Template, gather_tasks
from lorary.evaluation.columns import Record
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.identity import Identity
from lorary.evaluation.items import Item
from lorary.evaluation.measures import find_metric
from lorary.evaluation.precision import describe_precision
from lorary.evaluation.predictions import Prediction, share_experts
from lorary.evaluation.request_pool import RequestPool, gather_requests
from lorary.evaluation.responding import Responder
from lorary.evaluation.response_store import ResponseStore
from lorary.evaluation.result import Result
from lorary.evaluation.route_uses import name_uses
from lorary.evaluation.routes import Route
from lorary.evaluation.run_header import describe_run
from lorary.files import quote
from lorary.models.positions import check_length, count_needed


@dataclass(frozen=True)
class EvalEvent:
    """The progress of an evaluation."""

    route: str
    """The current route."""
    num_done: int
    """Finished units of work: scored tokens, and the maximum number of tokens of answers."""
    num_total: int
    """Units of work of all routes."""


def evaluate(
    model: RoutedModel,
    tasks: Mapping[str, TaskLike],
    routes: Sequence[Route],
    template: Template,
    config: EvalConfig | None = None,
    *,
    store: ResponseStore | None = None,
    on_progress: Callable[[EvalEvent], None] | None = None,
    on_prediction: Callable[[Prediction], None] | None = None,
) -> Result:
    """Measure each route on each task's examples.

    Args:
        model: the model; it is not changed.
        tasks: name -> task, or what ``read_task`` reads: a data set of ``datasets``, a list of dictionaries,
            a table of pandas, a path.
        routes: the routes, see ``make_routes``.
        template: turns examples into prompts.
        config: the configuration; None for the defaults.
        store: earlier answers, to which new ones are added; None for no store.
        on_progress: called after each forward pass or batch of answers.
        on_prediction: called with each route's response to each example.

    Returns:
        One value per task, route, metric and example; ``loss`` is the mean over an example's target tokens.
        A task without choices has no accuracies. The header has the dtype, and the numbers of examples that
        were left out or changed. In less than float32, answers may depend on the other examples of a batch.

    Raises:
        DataError: if a task has no example in the split, or none that fits.
        ValueError: if there is no route or task, two routes have the same name, or the metrics apply to no
            example.
    """
    config = config or EvalConfig()
    known = gather_tasks(tasks)
    _check_request(known, routes)
    pool = gather_requests(
        model.tokenizer, known, template, config, is_encoder_decoder=model.base.is_encoder_decoder
    )
    for item in (*pool.scores, *pool.answers):
        num_answer = max(len(item.tokens.target_ids), item.max_new_tokens)
        length = count_needed(model.model, len(item.tokens.prompt_ids), num_answer)
        check_length(model.model, length, f"task {item.task!r}: an example with its answer")
    responder = Responder(model, config, store)
    records: list[Record] = []
    for number, route in enumerate(routes):
        done = number * pool.num_units

        def report(items: Sequence[Item], route: Route = route) -> None:
            nonlocal done
            done += sum(item.num_units for item in items)
            if on_progress is not None:
                on_progress(EvalEvent(route.name, done, pool.num_units * len(routes)))

        responder.on_items = report
        scored, answers = responder.score(route, pool.scores), responder.answer(route, pool.answers)
        records += pool.grade(route.name, scored, answers, config.metrics)
        if on_prediction is not None:
            for prediction in pool.predict(route.name, scored, answers, config.metrics):
                on_prediction(prediction)
    items = (*pool.scores, *pool.answers)
    settings = {
        **describe_model(model, responder.identity if store is not None else None),
        "evaluation": asdict(config),
        "template": str(template),
        "routes": [describe_route(route) for route in routes],
        "examples": dict(pool.num_examples),
        "data": _hash_data(pool),
        "prompts": {task: asdict(counts) for task, counts in pool.counts.items()},
    }
    header = describe_run(seeds={"examples": config.seed}, settings=settings)
    metrics = [find_metric(name) for name in config.metrics]
    categories = {name: list(task.categories) for name, task in known.items() if task.categories}
    attachments = {
        **describe_choices(responder, items),
        **({"categories": categories} if categories else {}),
    }
    return Result.from_records(records, header, attachments, metrics)


def describe_model(model: RoutedModel, identity: Identity | None) -> dict[str, object]:
    """Describe a model for the header of a result: its base and, with an identity, its experts' hashes."""
    described: dict[str, object] = {
        "base model": model.base.name,
        **describe_precision(model.base),
        "fingerprint": model.base.fingerprint,
    }
    if rounded := model.stack.context.rounded:
        described["rounded"] = [str(dtype).removeprefix("torch.") for dtype in rounded]
    return described if identity is None else {**described, "experts": identity.experts}


def describe_choices(responder: Responder, items: Sequence[Item]) -> dict[str, object]:
    """Describe the experts that routers chose once per request, as an attachment of a result."""
    names = responder.model.stack.names
    found = {route: share_experts(items, chosen, names) for route, chosen in responder.chosen.items()}
    return {"routing": found} if found else {}


def _hash_data(pool: RequestPool) -> dict[str, str]:
    """Hash the measured examples of each task; an example's id is a hash of its content."""
    ids: dict[str, set[str]] = {}
    for question in pool.questions:
        ids.setdefault(question.task, set()).add(question.example_id)
    return {task: hashlib.sha256(" ".join(sorted(own)).encode()).hexdigest() for task, own in ids.items()}


def _check_request(tasks: Mapping[str, Task], routes: Sequence[Route]) -> None:
    if not tasks or not routes:
        raise ValueError(f"an evaluation needs a task and a route, found {len(tasks)} and {len(routes)}")
    check_routes_differ([route.name for route in routes])


def check_routes_differ(names: Sequence[str]) -> None:
    """Check that there are routes, and that each has its own name.

    Raises:
        ValueError: if there is none, or two have the same name.
    """
    if not names:
        raise ValueError("an evaluation needs a route, found none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"routes must have different names, found {quote(twice[0])} twice")


def describe_route(route: Route) -> dict[str, object]:
    """Describe a route in JSON values, for the header of a result."""
    options = asdict(route.options) if route.options is not None else None
    return {
        "name": route.name,
        "router": route.router,
        "uses": name_uses(route.router or route.name),
        "options": options,
        "combine": route.combine,
    }
