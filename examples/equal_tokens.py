"""Train the contestants of docs/results/routing.md, each on the same number of tokens in total.

    python examples/equal_tokens.py DATA runs/library --total-tokens 1032000

There are three ways to spend the tokens on the 43 tasks of examples/natural_instructions.py: all of them
on one expert per task (OUT/library); all of them on one multi-task LoRA (``multi-task-all`` in
OUT/controls); half of them on a general expert (``multi-task`` in OUT/controls) and half on experts on
top of it (OUT/residual). The plain experts can have ``multi-task`` as their fallback too. Continues where an
earlier call stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from natural_instructions import LONGEST, read_tasks, show_bar

import lorary
from lorary import Expert
from lorary.data import Task, find_template, mix_tasks
from lorary.experts.roles import GENERAL
from lorary.library import Library
from lorary.models import BaseModel
from lorary.training import TrainConfig, prepare_examples, train_experts

STAGES = ("multi-task", "library", "residual", "multi-task-all")


def main() -> None:
    """Train the stages that are asked for, in their order."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--total-tokens", type=int, default=1_032_000, help="of each contestant, on all tasks"
    )
    parser.add_argument("--num-tasks", type=int, default=43, help="of the list, evenly spaced")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    args = parser.parse_args()
    base, tasks = lorary.load_base(), choose_tasks(read_tasks(args.data), args.num_tasks)
    half = args.total_tokens // 2
    for stage in args.stages:
        if stage == "library":
            train(base, tasks, each(args.total_tokens // len(tasks)), args.out / "library")
        elif stage == "residual":
            general = Library.open(str(args.out / "controls"))["multi-task"]
            train(base, tasks, each(half // len(tasks)), args.out / "residual", general)
        else:
            tokens = half if stage == "multi-task" else args.total_tokens
            train(base, {stage: mix_tasks(tasks, stage)}, together(tokens), args.out / "controls")


def choose_tasks(tasks: dict[str, Task], num_tasks: int) -> dict[str, Task]:
    """Choose tasks, evenly spaced in their order."""
    names = list(tasks)
    return {name: tasks[name] for name in (names[i * len(names) // num_tasks] for i in range(num_tasks))}


def each(max_tokens: int) -> TrainConfig:
    """Configure the training of an expert per task."""
    return TrainConfig(max_tokens=max_tokens, batch_size=4, tokens_per_pass=2048)


def together(max_tokens: int) -> TrainConfig:
    """Configure the training of one expert on all tasks."""
    return TrainConfig(max_tokens=max_tokens, batch_size=16, tokens_per_pass=2048)


def train(
    base: BaseModel, tasks: dict[str, Task], config: TrainConfig, place: Path, general: Expert | None = None
) -> None:
    """Train experts into a library, on top of a general one if it is given."""
    examples = prepare_examples(
        base.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )
    runs = place.with_name(f"{place.name}-run") / next(iter(tasks)) if len(tasks) == 1 else f"{place}-run"
    with show_bar(f"{place.name}: {len(tasks)} on {config.max_tokens} tokens each") as show:
        outcome = train_experts(
            base,
            examples,
            config,
            Path(runs),
            on_top_of=general,
            on_progress=lambda event: show(event.num_steps, event.total_steps),
        )
    library = Library.open(str(place), create=True)
    if general is not None:
        library["multi-task"] = replace(general, card=replace(general.card, role=GENERAL))
    library.add_all(outcome.experts, replace=True)


if __name__ == "__main__":
    main()
