"""The ways of training on many tasks that examples/modular_training.py compares."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from natural_instructions import LONGEST, show_bar
from torch import Tensor

import lorary
from lorary.data import Task, find_template, mix_tasks
from lorary.experts import Expert
from lorary.experts.skills import SkillSet
from lorary.models import BaseModel
from lorary.training import (
    MoeConfig,
    SkillConfig,
    TrainConfig,
    TrainingExamples,
    prepare_examples,
    train_experts,
    train_moe,
    train_skills,
)
from lorary.training.loop.event import TrainEvent
from lorary.transforms.prototypes import library_prototypes

NUM_SKILLS, RANK = 8, 2


class Arm(NamedTuple):
    """The result of a way of training."""

    experts: dict[str, Expert]
    """The expert of each task; of a mixture of experts, those that its router chooses among."""
    other: Expert | None = None
    """The expert of tasks that were not trained on."""
    facts: dict[str, dict[str, Tensor]] | None = None
    """The trained router of a mixture of experts."""
    skills: SkillSet | None = None
    """The skills that the experts are mixed from, with their table."""


def configure(args: argparse.Namespace, max_tokens: int, rank: int, batch_size: int) -> TrainConfig:
    """Configure a training; LoRA's factor before ``b @ a`` is 2 at any rank."""
    return TrainConfig(
        max_tokens=max_tokens,
        rank=rank,
        alpha=2 * rank,
        batch_size=batch_size,
        learning_rate=args.learning_rate,
        tokens_per_pass=4096,
    )


def train_lora(base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, folder: Path) -> Arm:
    """Train one LoRA on all tasks."""
    examples = prepare(base, {"one": mix_tasks(tasks, "one")})
    config = configure(args, args.max_tokens, NUM_SKILLS * RANK, args.batch_size)
    with show_bar("one LoRA") as show_steps:
        expert = train_experts(base, examples, config, folder, on_progress=follow(show_steps)).experts["one"]
    return Arm({name: expert.rename(name) for name in tasks}, expert)


def train_alone(base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, folder: Path) -> Arm:
    """Train an expert per task, on an equal share of the tokens."""
    experts = train_each(base, tasks, args, args.max_tokens // len(tasks), folder)
    rank = min(NUM_SKILLS, len(experts)) * RANK
    return Arm(experts, lorary.merge(experts, "linear", rank=rank))


def train_mixture(base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, folder: Path) -> Arm:
    """Train an expert per task on half of the tokens, and a router of these experts on the other half."""
    experts = train_each(base, tasks, args, args.max_tokens // 2 // len(tasks), folder / "experts")
    start = {path: rows * gains[:, None] for path, (rows, gains) in library_prototypes(experts).items()}
    config = MoeConfig(train=configure(args, args.max_tokens // 2, RANK, args.batch_size))
    with show_bar("router") as show_steps:
        found = train_moe(
            base,
            experts,
            prepare(base, tasks),
            config,
            folder / "router",
            start=start,
            on_progress=follow(show_steps),
        )
    return Arm(found.experts, facts=found.facts)


def train_each(
    base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, max_tokens: int, folder: Path
) -> dict[str, Expert]:
    """Train an expert per task."""
    config = configure(args, max_tokens, RANK, 4)
    with show_bar("independent experts") as show_steps:
        outcome = train_experts(base, prepare(base, tasks), config, folder, on_progress=follow(show_steps))
    return outcome.experts


def train_splits(num_splits: int) -> Callable[[BaseModel, dict[str, Task], argparse.Namespace, Path], Arm]:
    """Make the arm of Polytropon (1 split) or MHR."""

    def train(base: BaseModel, tasks: dict[str, Task], args: argparse.Namespace, folder: Path) -> Arm:
        own = configure(args, args.max_tokens, RANK, args.batch_size)
        config = SkillConfig(train=own, num_skills=NUM_SKILLS, num_splits=num_splits)
        with show_bar(f"skills, {num_splits} splits") as show_steps:
            found = train_skills(
                base, prepare(base, tasks), config, folder, on_progress=follow(show_steps)
            ).skill_set
        return Arm(found.task_experts(), found.task_expert(None), skills=found)

    return train


def follow(show_steps: Callable[[int, int], None]) -> Callable[[TrainEvent[Any]], None]:
    """Make a training's ``on_progress`` of a bar."""
    return lambda event: show_steps(event.num_steps, event.total_steps)


def prepare(base: BaseModel, tasks: dict[str, Task]) -> dict[str, TrainingExamples]:
    """Tokenise the tasks' examples."""
    return prepare_examples(
        base.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )


ARMS = {
    "one LoRA": train_lora,
    "independent": train_alone,
    "Polytropon": train_splits(1),
    "MHR, 8 splits": train_splits(8),
    "MHR, 64 splits": train_splits(64),
    "mixture of experts": train_mixture,
}
