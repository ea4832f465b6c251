"""Many routes on many tasks, with base and experts loaded once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from lorary.assembly import RoutedModel
from lorary.data import Task, Template
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.result import Record, Result
from lorary.evaluation.routes import Route
from lorary.evaluation.run_header import describe_run
from lorary.evaluation.work import ROW_LENGTH, measure_route, prepare_work
from lorary.files import quote
from lorary.passes import find_layout


@dataclass(frozen=True)
class EvalProgress:
    """How far an evaluation has come."""

    route: str
    """The route at work."""
    num_done: int
    """Units of work dealt with: tokens scored, and the most tokens that answers could have had."""
    num_total: int
    """Units of work of all routes."""


def evaluate(
    model: RoutedModel,
    tasks: Mapping[str, Task],
    routes: Sequence[Route],
    template: Template,
    config: EvalConfig | None = None,
    *,
    on_progress: Callable[[EvalProgress], None] | None = None,
) -> Result:
    """Measure each route on each task's examples.

    Args:
        model: the model; its own router is put back afterwards.
        tasks: what to measure on, by name.
        routes: ways of answering, see ``find_routes``.
        template: how examples become prompts.
        config: metrics and sizes.
        on_progress: called after each forward pass or batch of answers.

    Returns:
        One number per task, route, metric and example; ``loss`` is the mean over an example's target tokens.
        A task without choices has no accuracies. The header counts the examples left out as too long.

    Raises:
        DataError: if a task has no example in the split, or none that fits.
        ValueError: if there is no route or task, two routes of one name, or no example suits the metrics.
    """
    config = config or EvalConfig()
    _check_request(tasks, routes)
    share = find_layout(model.stack, config.max_length, ROW_LENGTH).shares
    work = prepare_work(model.tokenizer, tasks, template, config, share=share)
    records: list[Record] = []
    for number, route in enumerate(routes):
        done = number * work.num_units

        def report(amount: int, route: Route = route) -> None:
            nonlocal done
            done += amount
            if on_progress is not None:
                on_progress(EvalProgress(route.name, done, work.num_units * len(routes)))

        with route.applied(model):
            records += measure_route(model, route, work, config, report)
    settings = {
        "base model": model.base.name,
        "evaluation": asdict(config),
        "template": str(template),
        "routes": [_describe(route) for route in routes],
        "examples": dict(work.num_examples),
        "too long": dict(work.num_too_long),
    }
    return Result.from_records(records, describe_run(seeds={"examples": config.seed}, settings=settings))


def _check_request(tasks: Mapping[str, Task], routes: Sequence[Route]) -> None:
    names = [route.name for route in routes]
    if not tasks or not names:
        raise ValueError(f"an evaluation needs a task and a route, found {len(tasks)} and {len(names)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"each route must have a name of its own, found {quote(twice[0])} twice")


def _describe(route: Route) -> dict[str, object]:
    options = asdict(route.options) if route.options is not None else None
    return {"name": route.name, "router": route.router, "options": options, "combine": route.combine}
