"""The sets of tasks on which routes are compared, how a set is measured, and how results are shown."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from natural_instructions import LONGEST, read_tasks, show_bar
from rich.console import Console

import lorary
from lorary.assembly import RoutedModel
from lorary.data import PlainTemplate, Task
from lorary.evaluation import EvalConfig, Result, Route, compare_routes, evaluate
from lorary.evaluation.response_store import ResponseStore
from lorary.reports import difference_grid, render_markdown, render_table, result_grid

SETS = ("seen", "bare", "unseen", "unseen-choices", "validation", "validation-bare", "other-unseen")
MULTIPLE_CHOICE = {"arc-challenge": "arc/ARC-Challenge.validation.jsonl.xz", "mmlu": "mmlu/test.jsonl.xz"}


def find_tasks(data: Path, name: str) -> dict[str, Task]:
    """Read one set of tasks; every second task that no expert saw is reserved for choices."""
    if name == "unseen-choices":
        return {
            task: lorary.read_task({"test": data / file}, name=task) for task, file in MULTIPLE_CHOICE.items()
        }
    seen = read_tasks(data)
    if "unseen" not in name:
        return seen
    files = sorted((data / "natural_instructions" / "tasks").iterdir())
    files = [file for file in files if file.name.split(".json")[0] not in seen]
    chosen = files[::2] if name == "other-unseen" else files[1::2]
    tasks = [lorary.read_task({"test": file}, name=file.name.split(".json")[0]) for file in chosen]
    if name == "unseen":
        tasks += find_tasks(data, "unseen-choices").values()
        tasks.append(lorary.read_task({"test": data / "bbh" / "test.jsonl.xz"}, name="bbh"))
    return {task.name: task for task in tasks}


def find_template_of(name: str) -> PlainTemplate:
    """Return the template of a set's prompts."""
    return PlainTemplate(with_definition=not name.endswith("bare"))


def configure(name: str, num_examples: int, metrics: Sequence[str] = ("loss",)) -> EvalConfig:
    """Configure the measurement of one set."""
    return EvalConfig(
        metrics=tuple(metrics),
        split="validation" if name.startswith("validation") else "test",
        num_examples=num_examples,
        max_length=2 * LONGEST if "unseen" in name else LONGEST,
        truncation="skip" if name in ("seen", "bare") else "prompt-middle",
    )


def measure(
    model: RoutedModel,
    name: str,
    tasks: Mapping[str, Task],
    routes: Sequence[Route],
    num_examples: int,
    metrics: Sequence[str] = ("loss",),
    what: str | None = None,
    store_at: Path | None = None,
) -> Result:
    """Evaluate routes on one set of tasks.

    Args:
        model: the model.
        name: the set's name.
        tasks: its tasks.
        routes: the routes.
        num_examples: examples per task.
        metrics: the metrics.
        what: shown beside the bar; None for the set's name.
        store_at: a file of answers, so that a second call computes only what is missing; None for none.
    """
    with show_bar(what or name) as progress, open_store(store_at) as store:
        return evaluate(
            model,
            tasks,
            routes,
            find_template_of(name),
            configure(name, num_examples, metrics),
            store=store,
            on_progress=lambda event: progress(event.num_done, event.num_total),
        )


def open_store(place: Path | None) -> AbstractContextManager[ResponseStore | None]:
    """Open a file of answers; None for no file."""
    return nullcontext() if place is None else ResponseStore(place)


def show(result: Result, rivals: Sequence[str], place: Path) -> None:
    """Print means and paired differences to the rivals, and write them as Markdown."""
    console, text = Console(), []
    for metric in result.metrics:
        grids = [difference_grid(compare_routes(result, metric, rival)) for rival in rivals]
        for grid in (result_grid(result, metric, 3), *grids):
            console.print(render_table(grid, width=console.width))
            text.append(render_markdown(grid))
    place.write_text("\n\n".join(text) + "\n")
