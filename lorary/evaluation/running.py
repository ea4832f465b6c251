"""Running an evaluation: many routes on many tasks, with base model and experts loaded once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from lorary.assembly import RoutedModel
from lorary.data import Task, TaskLike, Template, gather_tasks
from lorary.evaluation.columns import Record
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.measures import find_metric
from lorary.evaluation.precision import describe_precision
from lorary.evaluation.request_pool import RequestPool, gather_requests
from lorary.evaluation.result import Result
from lorary.evaluation.route_uses import name_uses
from lorary.evaluation.routes import Route
from lorary.evaluation.run_header import describe_run
from lorary.evaluation.scoring import Report, generate_answers, score_targets
from lorary.files import quote
from lorary.models.positions import check_length, count_needed
from lorary.passes import find_layout
from lorary.passes.layout import Layout

ROW_LENGTH = 512


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
    on_progress: Callable[[EvalEvent], None] | None = None,
) -> Result:
    """Measure each route on each task's examples.

    Args:
        model: the model; it is not changed.
        tasks: name -> task, or what ``read_task`` reads: a data set of ``datasets``, a list of dictionaries,
            a table of pandas, a path.
        routes: the routes, see ``make_routes``.
        template: turns examples into prompts.
        config: the configuration; None for the defaults.
        on_progress: called after each forward pass or batch of answers.

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
    layout = find_layout(model.stack, config.max_length, ROW_LENGTH)
    pool = gather_requests(
        model.tokenizer, known, template, config, is_encoder_decoder=model.base.is_encoder_decoder
    )
    for item in (*pool.scores, *pool.answers):
        num_answer = max(len(item.tokens.target_ids), item.max_new_tokens)
        length = count_needed(model.model, len(item.tokens.prompt_ids), num_answer)
        check_length(model.model, length, f"task {item.task!r}: an example with its answer")
    records: list[Record] = []
    for number, route in enumerate(routes):
        done = number * pool.num_units

        def report(amount: int, route: Route = route) -> None:
            nonlocal done
            done += amount
            if on_progress is not None:
                on_progress(EvalEvent(route.name, done, pool.num_units * len(routes)))

        with model.stack.in_use():
            records += _measure_route(model, route, pool, config, layout, report)
    settings = {
        "base model": model.base.name,
        **describe_precision(model.base),
        "evaluation": asdict(config),
        "template": str(template),
        "routes": [describe_route(route) for route in routes],
        "examples": dict(pool.num_examples),
        "prompts": {task: asdict(counts) for task, counts in pool.counts.items()},
    }
    header = describe_run(seeds={"examples": config.seed}, settings=settings)
    return Result.from_records(records, header, metrics=[find_metric(name) for name in config.metrics])


def _measure_route(
    model: RoutedModel, route: Route, pool: RequestPool, config: EvalConfig, layout: Layout, report: Report
) -> Iterator[Record]:
    """Run all requests under one route."""
    sizes = {"tokens_per_pass": config.tokens_per_pass, "row_length": ROW_LENGTH}
    experts = route.prepare(model, pool.prompts, layout, **sizes)
    scored = score_targets(
        experts,
        pool.scores,
        layout,
        tokens_per_pass=config.tokens_per_pass,
        row_length=ROW_LENGTH,
        report=report,
    )
    answers = generate_answers(model, experts, pool.answers, batch_size=config.batch_size, report=report)
    return pool.grade(route.name, scored, answers, config.metrics)


def _check_request(tasks: Mapping[str, Task], routes: Sequence[Route]) -> None:
    if not tasks or not routes:
        raise ValueError(f"an evaluation needs a task and a route, found {len(tasks)} and {len(routes)}")
    check_routes_differ([route.name for route in routes])


def check_routes_differ(names: Sequence[str]) -> None:
    """Check that there are routes, and that each has a name of its own.

    Raises:
        ValueError: if there is none, or with a name that two have.
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
