"""The results of examples/benchmark_tables.py and benchmark_figure.py, joined from several files."""

import argparse
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from lorary.evaluation import Result
from lorary.evaluation.compare import Difference, correct_differences, paired_difference
from lorary.evaluation.measures import Metric
from lorary.evaluation.route_uses import name_uses

SCORE = "score"
NAMES = {
    "arc_easy": "ARC-E",
    "arc_challenge": "ARC-C",
    "piqa": "PIQA",
    "hellaswag": "HellaSwag",
    "winogrande": "WinoGrande",
    "openbookqa": "OpenBookQA",
    "boolq": "BoolQ",
    "commonsense_qa": "CommonsenseQA",
    "social_iqa": "Social IQa",
    "mmlu": "MMLU",
    "bbh": "BBH",
    "gsm8k": "GSM8K",
    "humaneval": "HumanEval",
    "mbpp": "MBPP",
    "arrow": "Arrow",
    "phatgoose": "PhatGOOSE",
    "calibrated": "calibrated (default)",
    "multi-task-all": "multi-task LoRA",
    "expert:wudi": "WUDI merge",
}
USES = {"multi-task-all": "pooled data", "expert:wudi": "experts only"}


@dataclass(frozen=True)
class Compared:
    """A route compared with the reference, over all benchmarks that both have and on each of them."""

    route: str
    """The route."""
    overall: Difference
    """Over all of them, corrected for the number of routes."""
    by_task: dict[str, Difference]
    """On each, corrected for the number of routes and benchmarks."""


def read_arguments(description: str, to: Path | None = None) -> argparse.Namespace:
    """Read the command line of both scripts; ``to`` is the default of the picture's path."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="results.json; the first counts if two overlap")
    parser.add_argument(
        "--metrics", nargs="+", help="the first of these that each benchmark has; otherwise its own"
    )
    parser.add_argument("--routes", nargs="+", help="in their order; if not given, all")
    parser.add_argument("--against", default="base")
    if to is not None:
        parser.add_argument("--to", type=Path, default=to)
    return parser.parse_args()


def read_scores(args: argparse.Namespace) -> Result:
    """Read the results, with one metric of each benchmark under the name ``score``.

    Raises:
        ValueError: if two results have other documents of a benchmark, or a route is in none of them.
    """
    result = reduce(add_columns, map(Result.from_json, args.results), Result({}))
    rising = [name for name in result.metrics if not result.metric_of[name].lower_is_better]
    routes = args.routes or result.routes
    if missing := [route for route in {*routes, args.against} if route not in result.routes]:
        raise ValueError(f"the results must have the routes {missing}, found {list(result.routes)}")
    measured = {(task, metric) for task, _, metric in result.scores}
    chosen = {
        task: next((name for name in args.metrics or rising if (task, name) in measured), None)
        for task in result.tasks
    }
    kept = {task: metric for task, metric in chosen.items() if metric is not None}
    scores = {
        (task, route, SCORE): result.values(task, route, metric)
        for route in dict.fromkeys([args.against, *routes])
        for task, metric in kept.items()
        if (task, route, metric) in result.scores
    }
    told = [result.metric_of[metric].title.partition(", ") for metric in kept.values()]
    title = "; ".join(
        ", ".join(dict.fromkeys(parts)) for parts in zip(*told, strict=True) if parts[0] != ", "
    )
    score = Metric(name=SCORE, title=title, description=SCORE, lower_is_better=False)
    ids = {(task, SCORE): result.example_ids[task, metric] for task, metric in kept.items()}
    return Result(scores, result.headers, {}, {SCORE: score}, ids)


def add_columns(one: Result, other: Result) -> Result:
    """Join two results; of columns that both have the first one's values are kept."""
    new = {key: values for key, values in other.scores.items() if key not in one.scores}
    wanted = {(task, metric) for task, _, metric in new}
    ids = {key: own for key, own in other.example_ids.items() if key in wanted}
    return one.merge(Result(new, other.headers, {}, other.metric_of, ids))


def compare_all(result: Result, against: str) -> list[Compared]:
    """Compare every route with the reference, over all benchmarks and on each."""
    routes = [route for route in result.routes if route != against]
    overall = correct_differences([paired_difference(result, SCORE, route, against) for route in routes])
    places = [
        (route, task)
        for route in routes
        for task in result.tasks
        if {(task, route, SCORE), (task, against, SCORE)} <= result.scores.keys()
    ]
    single = correct_differences(
        [paired_difference(keep_task(result, task), SCORE, route, against) for route, task in places]
    )
    found = dict(zip(places, single, strict=True))
    return [
        Compared(each.route, each, {task: one for (route, task), one in found.items() if route == each.route})
        for each in overall
    ]


def keep_task(result: Result, task: str) -> Result:
    """Return the part of a result for one benchmark."""
    scores = {key: values for key, values in result.scores.items() if key[0] == task}
    return replace(result, scores=scores, example_ids={(task, SCORE): result.example_ids[task, SCORE]})


def say(name: str) -> str:
    """Write the name of a benchmark or route as papers do."""
    return NAMES.get(name, name)


def say_uses(route: str) -> str:
    """Describe what a route uses besides the request."""
    return USES.get(route, name_uses(route))
