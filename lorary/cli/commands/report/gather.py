"""Measure all parts of a report, with base and experts loaded once."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TypeVar

from jsonargparse import Namespace

from lorary.cli.bars import show_count
from lorary.cli.comparison.measure import measure_routes
from lorary.cli.comparison.prepare import Comparison
from lorary.cli.default_router import name_router
from lorary.cli.evaluation_bar import show_evaluation
from lorary.evaluation import Result, Route, evaluate
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.routes import EXPERT_PREFIX
from lorary.evaluation.routing_survey import RoutingSurvey, survey_routing
from lorary.experts import Expert
from lorary.files import say_count
from lorary.reports.library_report import LibraryReport
from lorary.reports.routed_sample import RoutedSample
from lorary.reports.traced_sample import trace_sample
from lorary.routing import ROUTERS, RouterConfig
from lorary.transforms import expert_similarity

T = TypeVar("T")


def gather_report(
    found: Comparison, router: str, config: RouterConfig, options: Namespace
) -> tuple[LibraryReport, Result | None]:
    """Measure all parts of a report.

    Args:
        found: tasks, routes and the model.
        router: the router to analyse.
        config: its configuration.
        options: the command's options.

    Returns:
        The report, and the losses of every expert on every task; None if ``--transfer-examples`` is 0.
    """
    combine = options.combine or "outputs"
    # The quick parts go first: they may refuse experts or router.
    experts: Mapping[str, Expert] = found.library
    if options.trust_base:
        experts = {name: expert.with_base(found.model.base.name) for name, expert in experts.items()}
    similarity = expert_similarity(experts, found.model.names)
    with found.model.routed(router, config, combine):
        survey = _survey(found, options.traced_examples)
        samples = _trace(found, options.num_samples)
    result = measure_routes(found)
    transfer = _measure_transfer(found, options.transfer_examples) if options.transfer_examples else None
    names = found.model.names
    report = LibraryReport(
        title=options.title or f"Library {options.library}",
        facts={
            "library": f"{options.library}, {say_count(len(names), 'expert')}",
            "base model": found.model.base.name,
            "router": f"{name_router(router)}, {combine} combined, {_describe(config)}",
            "it uses": str(ROUTERS[router].uses),
            "tasks": f"{len(found.tasks)}, split {found.config.split}",
            "examples per task": (
                f"{found.config.num_examples or 'all'} for the results, {options.traced_examples} for the "
                f"routing, {options.transfer_examples} for the transfer (or all, if a task has fewer)"
            ),
        },
        names=names,
        result=result,
        against=options.against,
        usage_by_task=_order(survey.usage_by_task, found),
        usage_by_layer=survey.usage_by_layer,
        entropy_by_layer=survey.entropy_by_layer,
        scores_by_task=_order(survey.scores_by_task, found),
        similarity=tuple(tuple(row) for row in similarity.tolist()),
        transfer=None if transfer is None else _order(_compare_with_base(transfer, names), found),
        own=found.own,
        samples=samples,
    )
    return report, transfer


def _describe(config: RouterConfig) -> str:
    options = {name: value for name, value in asdict(config).items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "no options"


def _order(rows: Mapping[str, T], found: Comparison) -> dict[str, T]:
    """Sort tasks by their own experts, so that these are on the diagonal; tasks without one follow."""
    places = {name: place for place, name in enumerate(found.model.names)}
    ordered = sorted(rows, key=lambda task: places.get(found.own.get(task, ""), len(places)))
    return {task: rows[task] for task in ordered}


def _measure_transfer(found: Comparison, num_examples: int) -> Result:
    """Measure the loss of the base and of every expert alone on every task."""
    routes = [Route(name="base")]
    for name in found.model.names:
        routes.append(Route(name=EXPERT_PREFIX + name, expert_of=dict.fromkeys(found.tasks, name)))
    config = replace(found.config, metrics=("loss",), num_examples=num_examples)
    experts, tasks = say_count(len(found.model.names), "expert"), say_count(len(found.tasks), "task")
    what = f"measuring {experts} on {tasks}"
    with show_evaluation(what) as show:
        return evaluate(found.model, found.tasks, routes, found.template, config, on_progress=show)


def _compare_with_base(transfer: Result, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    return {
        task: {
            name: transfer.mean(task, EXPERT_PREFIX + name, "loss") - transfer.mean(task, "base", "loss")
            for name in names
        }
        for task in transfer.tasks
    }


def _survey(found: Comparison, num_examples: int) -> RoutingSurvey:
    config: EvalConfig = replace(found.config, num_examples=num_examples)
    with show_count("analysing the routing of tokens") as show:
        return survey_routing(found.model, found.tasks, found.template, config, on_progress=show)


def _trace(found: Comparison, num_samples: int) -> tuple[RoutedSample, ...]:
    """Answer an example of each of the first tasks."""
    samples = []
    chosen = list(found.tasks.items())[:num_samples]
    with show_count("answering samples") as show:
        for number, (name, task) in enumerate(chosen, 1):
            samples.append(trace_sample(found.model, name, task, found.template, found.config))
            show(number, len(chosen))
    return tuple(samples)
