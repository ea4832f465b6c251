"""Compare ways to train on many tasks with the same seen tokens: Polytropon, MHR, one LoRA, alone.

    python examples/modular_training.py DATA runs/modular --max-tokens 258000

The tasks are those of examples/natural_instructions.py; unseen ones are the tested half of task_sets.py.
Skills and the one LoRA have the same number of trained parameters (8 skills of rank 2, and rank 16);
independent experts have rank 2 each. Tasks that were not trained on use the mean row of the table, the one
LoRA, or the mean of the independent experts. Goes on where an earlier call stopped; the results of an arm are
OUT/<arm>.seen.json and OUT/<arm>.unseen.json.
"""

import argparse
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

from natural_instructions import LONGEST, show_bar
from task_sets import find_tasks, measure, show

import lorary
from lorary.data import Task, find_template, mix_tasks
from lorary.evaluation import Result, Route
from lorary.experts import Expert
from lorary.models import BaseModel
from lorary.training import (
    SkillConfig,
    TrainConfig,
    TrainingExamples,
    prepare_examples,
    train_experts,
    train_skills,
)
from lorary.training.loop.event import TrainEvent

NUM_SKILLS, RANK = 8, 2
OTHER = "another task"
Arm = tuple[dict[str, Expert], Expert]
"""The expert of each task, and that of a task that was not trained on."""


def main() -> None:
    """Train, measure and compare each arm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--max-tokens", type=int, default=258_000, help="seen tokens of all tasks together")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of factors; that of tables is 0.1")
    parser.add_argument("--num-test", type=int, default=8, help="test examples per task")
    args = parser.parse_args()
    base = lorary.load_base()
    sets = {name: find_tasks(args.data, name) for name in ("seen", "unseen")}
    for arm in args.arms:
        if not all((args.out / f"{arm}.{name}.json").exists() for name in sets):
            own, other = ARMS[arm](base, sets["seen"], args, args.out / arm)
            measure_arm(base, sets, arm, own, other, args)
    for name in sets:
        found = [Result.from_json(args.out / f"{arm}.{name}.json") for arm in args.arms]
        rivals = [rival for rival in ("one LoRA", "independent") if rival in args.arms]
        show(reduce(Result.merge, found), rivals, args.out / f"{name}.md")


def configure(args: argparse.Namespace, max_tokens: int, rank: int, batch_size: int) -> TrainConfig:
    """Configure a training; LoRA's factor before ``b @ a`` is 2 at any rank."""
    return TrainConfig(
        max_tokens=max_tokens,
        rank=rank,
        alpha=2 * rank,
        batch_size=batch_size,
        learning_rate=args.learning_rate,
        tokens_per_pass=4096,
        validate_every=100,
    )


def train_lora(base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, folder: Path) -> Arm:
    """Train one LoRA on all tasks."""
    examples = prepare(base, {"one": mix_tasks(tasks, "one")})
    config = configure(args, args.max_tokens, NUM_SKILLS * RANK, 16)
    with show_bar("one LoRA") as show_steps:
        expert = train_experts(base, examples, config, folder, on_progress=follow(show_steps)).experts["one"]
    return {name: expert.rename(name) for name in tasks}, expert


def train_alone(base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, folder: Path) -> Arm:
    """Train an expert per task, on an equal share of the tokens."""
    config = configure(args, args.max_tokens // len(tasks), RANK, 4)
    with show_bar("independent experts") as show_steps:
        experts = train_experts(
            base, prepare(base, tasks), config, folder, on_progress=follow(show_steps)
        ).experts
    return experts, lorary.merge(experts, "linear", rank=NUM_SKILLS * RANK)


def train_splits(num_splits: int) -> Callable[[BaseModel, dict[str, Task], argparse.Namespace, Path], Arm]:
    """Make the arm of Polytropon (1 split) or MHR."""

    def train(base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, folder: Path) -> Arm:
        own = configure(args, args.max_tokens, RANK, 16)
        config = SkillConfig(train=own, num_skills=NUM_SKILLS, num_splits=num_splits)
        with show_bar(f"skills, {num_splits} splits") as show_steps:
            found = train_skills(
                base, prepare(base, tasks), config, folder, on_progress=follow(show_steps)
            ).skill_set
        return found.task_experts(), found.task_expert(None)

    return train


def follow(show_steps: Callable[[int, int], None]) -> Callable[[TrainEvent[Any]], None]:
    """Make a training's ``on_progress`` of a bar."""
    return lambda event: show_steps(event.num_steps, event.total_steps)


def prepare(base: BaseModel, tasks: dict[str, Task]) -> dict[str, TrainingExamples]:
    """Tokenise the tasks' examples."""
    return prepare_examples(
        base.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )


def measure_arm(
    base: BaseModel,
    sets: dict[str, dict[str, Task]],
    arm: str,
    own: dict[str, Expert],
    other: Expert,
    args: argparse.Namespace,
) -> None:
    """Measure an arm on the tasks that it was trained on and on others; the base model with the first arm."""
    model = lorary.load_model(base, {**own, OTHER: other}, router=None)
    for name, tasks in sets.items():
        expert_of = {task: task if name == "seen" else OTHER for task in tasks}
        routes = [Route(name=arm, expert_of=expert_of)]
        if arm == next(iter(ARMS)):
            routes.append(Route(name="base"))
        result = measure(model, name, tasks, routes, args.num_test)
        result.to_json(args.out / f"{arm}.{name}.json")
    model.detach()


ARMS = {
    "one LoRA": train_lora,
    "independent": train_alone,
    "Polytropon": train_splits(1),
    "MHR, 8 splits": train_splits(8),
    "MHR, 64 splits": train_splits(64),
}

if __name__ == "__main__":
    main()
