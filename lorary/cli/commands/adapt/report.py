"""The results of an adaptation, as tables and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lorary.adaptation.methods.contract import Weights
from lorary.adaptation.result import AdaptedTask
from lorary.cli.commands.adapt.storing import Run
from lorary.cli.console import print_table
from lorary.cli.grids import print_grid
from lorary.cli.printing import format_count, print_line
from lorary.evaluation import Difference, Result, compare_routes
from lorary.evaluation.columns import Record
from lorary.reports import difference_grid

BY_TASK = ("task", "made from", "seen tokens", "steps", "start", "validation", "test")
BY_METHOD = ("method", "seen tokens", "seconds", "validation", "test", "tasks best")
LOSS, FRESH = "loss", "fresh"
MOST_PARENTS = 3


def print_runs(runs: Sequence[Run]) -> None:
    """Print a row per task for a single run; else a row per method, with means over tasks and seeds."""
    if len(runs) == 1:
        print_table(BY_TASK, [_describe_task(runs[0], task) for task in runs[0].adapted.tasks], BY_TASK[2:])
        return
    print_table(BY_METHOD, tabulate_methods(runs), BY_METHOD[1:])


def print_differences(differences: Sequence[Difference], split: str) -> None:
    """Print the paired differences from the reference, if there are any."""
    if differences:
        print_grid(difference_grid(differences))
        print_line(f"on the {split} examples; losses of several seeds are averaged for each example first")


def tabulate_methods(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Describe each method: means over tasks and seeds, and the number of tasks on which it is the best."""
    methods = list(dict.fromkeys(run.method for run in runs))
    split = choose_split(runs)
    means = {method: _average(runs, method, split) for method in methods}
    # Without an example of the split no method is the best of a task.
    known = means[methods[0]]
    best = [min(methods, key=lambda method: means[method][task]) for task in known]
    rows = []
    for method in methods:
        own = [run for run in runs if run.method == method]
        tokens = sum(task.num_tokens for run in own for task in run.adapted.tasks.values()) / len(own)
        seconds = sum(run.adapted.seconds for run in own) / len(own)
        losses = [_mean(_average(runs, method, part).values()) for part in ("validation", "test")]
        rows.append(
            (
                method,
                format_count(round(tokens)),
                f"{seconds:.1f}",
                *map(_format_loss, losses),
                str(best.count(method)),
            )
        )
    return rows


def choose_split(runs: Sequence[Run]) -> str:
    """Return the split that methods are compared on: the test, if all tasks have one."""
    has_test = all(run.losses(task, "test") for run in runs for task in run.adapted.tasks)
    return "test" if has_test else "validation"


def compare_methods(runs: Sequence[Run], against: str | None) -> list[Difference]:
    """Compare every method with a reference on the same examples, by losses averaged over seeds.

    Args:
        runs: the runs.
        against: the reference; None for ``fresh``, else the first method.
    """
    methods = list(dict.fromkeys(run.method for run in runs))
    reference = against or (FRESH if FRESH in methods else methods[0])
    split = choose_split(runs)
    records = [
        Record(task, method, LOSS, loss, str(place))
        for method in methods
        for task in runs[0].adapted.tasks
        for place, loss in enumerate(_average_examples(runs, method, task, split))
    ]
    if len(methods) < 2 or not records:
        return []
    return compare_routes(Result.from_records(records), LOSS, reference)


def summarize_runs(runs: Sequence[Run], differences: Sequence[Difference]) -> dict[str, Any]:
    """Describe all runs and the differences in JSON values."""
    return {
        "runs": [
            {
                "method": run.method,
                "seed": run.seed,
                "seconds": round(run.adapted.seconds, 2),
                "tasks": [_summarize_task(run, task) for task in run.adapted.tasks],
            }
            for run in runs
        ],
        "compared_on": choose_split(runs),
        "differences": [
            {**asdict(difference), "metric": difference.metric.name} for difference in differences
        ],
    }


def _summarize_task(run: Run, task: str) -> dict[str, Any]:
    found = run.adapted.tasks[task]
    return {
        "task": task,
        "parents": list(found.expert.card.parents),
        "weights": dict(found.weights),
        "scores": {name: score for name, score in found.scores.items() if score is not None},
        "rank": found.expert.max_rank,
        "relative_error": found.error,
        "read_tokens": found.num_read,
        "trained_tokens": found.progress.tokens,
        "seen_tokens": found.num_tokens,
        "steps": found.progress.step,
        "best_step": found.progress.best_step,
        "validation_curve": found.progress.validation_curve,
        "validation_loss": run.mean_loss(task, "validation"),
        "test_loss": run.mean_loss(task, "test"),
    }


def _describe_task(run: Run, task: str) -> tuple[str, ...]:
    found = run.adapted.tasks[task]
    curve = found.progress.validation_curve
    return (
        task,
        describe_parents(found),
        format_count(found.num_tokens),
        format_count(found.progress.step),
        _format_loss(curve[0][1] if curve and curve[0][0] == 0 else None),
        *(_format_loss(run.mean_loss(task, split)) for split in ("validation", "test")),
    )


def describe_parents(found: AdaptedTask) -> str:
    """Name the experts with the largest mean weights, with these weights if there are several."""
    weights = average_weights(found.weights)
    ranked = sorted(weights, key=lambda name: (-abs(weights[name]), name))
    if len(ranked) < 2:
        return ranked[0] if ranked else "nothing"
    shown = [f"{name} {weights[name]:.2f}" for name in ranked[:MOST_PARENTS]]
    more = [f"{len(ranked) - MOST_PARENTS} more"] if len(ranked) > MOST_PARENTS else []
    return ", ".join([*shown, *more])


def average_weights(weights: Weights) -> dict[str, float]:
    """Return the mean of each expert's weights over groups of layers."""
    groups: list[Mapping[str, float]] = [own for own in weights.values() if isinstance(own, Mapping)]
    if not groups:
        return {name: own for name, own in weights.items() if not isinstance(own, Mapping)}
    names = dict.fromkeys(name for group in groups for name in group)
    return {name: sum(group.get(name, 0.0) for group in groups) / len(groups) for name in names}


def _average_examples(runs: Sequence[Run], method: str, task: str, split: str) -> list[float]:
    """Return the losses of a task's examples, averaged over the seeds of a method."""
    columns = [run.losses(task, split) for run in runs if run.method == method]
    return [sum(values) / len(values) for values in zip(*columns, strict=True)]


def _average(runs: Sequence[Run], method: str, split: str) -> dict[str, float]:
    """Return the mean losses of a method by task, for tasks that have the split."""
    losses = {task: _average_examples(runs, method, task, split) for task in runs[0].adapted.tasks}
    return {task: sum(own) / len(own) for task, own in losses.items() if own}


def _mean(values: Any) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _format_loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.3f}"
