"""Train one expert per task on 43 real tasks, keep them in a library, and compare ways of using them.

    python examples/natural_instructions.py DATA runs/first-library

DATA is a folder with a MANIFEST.json whose ``experts`` list names task files in it. Training goes on where an earlier
call stopped; `--max-tokens` and `--num-test` make it smaller. Prints the table of docs/results/first-library.md.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lorary.data import Task, find_template, mix_tasks, read_task
from lorary.library import Library
from lorary.models import BaseModel, load_base
from lorary.training import TrainConfig, TrainEvent, prepare_examples, train_experts

LONGEST = 512  # tokens; longer examples are left out


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
    args = parser.parse_args()
    tasks = read_tasks(args.data)
    base = load_base()
    config = TrainConfig(
        max_tokens=args.max_tokens,
        epochs=4,
        batch_size=4,
        validate_every=50,
        patience=4,
        checkpoint_seconds=120,
    )
    train(base, tasks, config, args.out, "library")
    together = {"multi-task": mix_tasks(tasks, "multi-task")}
    config = TrainConfig(max_tokens=args.multi_task_tokens, batch_size=16, validate_every=100)
    train(base, together, config, args.out, "controls")


def read_tasks(data: Path) -> dict[str, Task]:
    """Read the tasks that the manifest proposes to train experts on."""
    tasks = {}
    for entry in json.loads((data / "MANIFEST.json").read_text())["experts"]:
        path = data / entry["file"]
        stem = path.name.split(".json")[0]
        name = path.parent.name if stem == "train" else stem.removesuffix(".train").lower()
        tasks[name] = read_task(path, name=name)
    return tasks


def train(base: BaseModel, tasks: dict[str, Task], config: TrainConfig, out: Path, library_name: str) -> None:
    """Train an expert per task into a library, resuming what an earlier call left."""
    examples = prepare_examples(
        base.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )
    with Progress(console=Console(stderr=True)) as bar:
        line = bar.add_task(f"training {len(tasks)} experts")

        def show(event: TrainEvent) -> None:
            bar.update(line, completed=event.num_steps, total=event.total_steps)

        outcome = train_experts(base, examples, config, out / f"{library_name}-run", on_progress=show)
    library = Library.open(str(out / library_name), create=True)
    for name, expert in outcome.experts.items():
        library[name] = expert


if __name__ == "__main__":
    main()
