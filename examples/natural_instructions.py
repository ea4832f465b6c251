"""Train one expert per task on 43 real tasks, keep them in a library, and compare ways of using them.

    python examples/natural_instructions.py DATA runs/first-library

DATA is a folder with a MANIFEST.json whose ``experts`` list names task files in it. Training continues where
an earlier call stopped. Prints the tables of docs/results/first-library.md and writes their numbers to OUT.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

import lorary
from lorary.data import Task, find_template, mix_tasks
from lorary.evaluation import EvalConfig, compare_routes, evaluate, make_routes
from lorary.library import Library
from lorary.models import BaseModel
from lorary.reports import difference_grid, render_markdown, render_table, result_grid
from lorary.training import TrainConfig, prepare_examples
from lorary.transforms import random_expert

LONGEST = 512  # tokens; longer examples are left out
ROUTES = ("base", "random", "uniform", "multi-task", "arrow", "oracle")


def main() -> None:
    """Train, store, evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max-tokens", type=int, default=60_000, help="input and target tokens per expert")
    parser.add_argument(
        "--multi-task-tokens", type=int, default=240_000, help="of the one expert of all tasks"
    )
    parser.add_argument("--same-start", action="store_true", help="give all experts the same initial weights")
    parser.add_argument("--num-test", type=int, default=32, help="test examples per task")
    parser.add_argument("--metrics", nargs="+", default=["loss", "accuracy_per_token"])
    args = parser.parse_args()
    tasks = read_tasks(args.data)
    base = lorary.load_base()
    config = TrainConfig(
        max_tokens=args.max_tokens,
        epochs=4,
        batch_size=4,
        tokens_per_pass=4096,
        validate_every=50,
        patience=4,
        checkpoint_seconds=120,
        same_start=args.same_start,
    )
    experts = train(base, tasks, config, args.out / "library")
    together = {"multi-task": mix_tasks(tasks, "multi-task")}
    config = TrainConfig(
        max_tokens=args.multi_task_tokens, batch_size=16, tokens_per_pass=4096, validate_every=100
    )
    controls = train(base, together, config, args.out / "controls")
    compare(base, tasks, experts, controls, args)


def read_tasks(data: Path) -> dict[str, Task]:
    """Read the tasks that the manifest proposes for training experts."""
    return {name: lorary.read_task(path, name=name) for name, path in find_task_files(data).items()}


def find_task_files(data: Path) -> dict[str, Path]:
    """Find the files of these tasks: name -> file."""
    files = {}
    for entry in json.loads((data / "MANIFEST.json").read_text())["experts"]:
        path = data / entry["file"]
        stem = path.name.split(".json")[0]
        files[path.parent.name if stem == "train" else stem.removesuffix(".train").lower()] = path
    return files


def train(base: BaseModel, tasks: dict[str, Task], config: TrainConfig, place: Path) -> Library:
    """Train an expert per task into a library, resuming an earlier call."""
    examples = prepare_examples(
        base.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )
    with show_bar(f"training {len(tasks)} experts") as show:
        outcome = lorary.train_experts(
            base,
            examples,
            config,
            place.with_name(f"{place.name}-run"),
            on_progress=lambda event: show(event.num_steps, event.total_steps),
        )
    library = Library.open(str(place), create=True)
    for name, expert in outcome.experts.items():
        library[name] = expert
    return library


def compare(
    base: BaseModel, tasks: dict[str, Task], experts: Library, controls: Library, args: argparse.Namespace
) -> None:
    """Print and write the tables."""
    everyone = {name: controls[name] for name in controls} | {"random": random_expert(experts)}
    model = lorary.load_model(base, experts, router=None, controls=everyone)
    routes = make_routes(ROUTES, model, {name: name for name in tasks})
    config = EvalConfig(metrics=tuple(args.metrics), num_examples=args.num_test, max_length=LONGEST)
    with show_bar("evaluating") as show:
        result = evaluate(
            model,
            tasks,
            routes,
            find_template("plain"),
            config,
            on_progress=lambda event: show(event.num_done, event.num_total),
        )
    result.to_json(args.out / "results.json")
    console = Console()
    for metric in result.metrics:
        console.print(render_table(result_grid(result, metric), console.width))
        console.print(render_table(difference_grid(compare_routes(result, metric, "uniform"))))
        (args.out / f"{metric}.md").write_text(render_markdown(result_grid(result, metric, 3)))


@contextmanager
def show_bar(what: str) -> Callable[[int, int], None]:
    """Show a progress bar; yields a function of done and total."""
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


if __name__ == "__main__":
    main()
