"""Describe a training of skills before it begins."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from lorary.cli.commands.train.plan import describe_base, describe_examples, describe_steps, list_names
from lorary.cli.left_out import describe_prompts
from lorary.experts.skills.mixing import check_splits
from lorary.files import say_count
from lorary.models import BaseModel, find_layers, layer_shape
from lorary.training import SkillConfig, TrainingExamples
from lorary.training.folder.run_folder import count_finished
from lorary.training.joined_tasks import join_tasks
from lorary.training.objectives.skill_values import TABLE, outline_skills


def describe_skill_plan(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: SkillConfig,
    name: str,
    run_folder: Path,
    fresh: bool,
) -> Iterator[tuple[str, str]]:
    """Describe a run, as pairs of label and text.

    Raises:
        IncompatibleExpert: if no layer of the base model is selected.
        ValueError: if the splits do not divide the widths of all layers.
    """
    yield "base", describe_base(base)
    yield "tasks", f"{len(examples)}: {list_names(list(examples))}"
    yield "examples", describe_examples(examples, config.train)
    for text in describe_prompts(found.counts for found in examples.values()):
        yield "prompts", text
    yield from _describe_skills(base, len(examples), config)
    yield "steps", describe_steps({name: join_tasks(examples, is_balanced=config.balanced)}, config.train)
    is_there = None if fresh else count_finished(run_folder, [name])
    state = "new run, saved in" if is_there is None else "finished, in" if is_there else "resumed, from"
    yield "state", f"{state} {run_folder}"


def _describe_skills(base: BaseModel, num_tasks: int, config: SkillConfig) -> Iterator[tuple[str, str]]:
    layers = find_layers(base.model, config.train.target_modules)
    sizes = {path: layer_shape(layer) for path, layer in layers.items()}
    check_splits(sizes, config.num_splits)
    shapes = outline_skills(sizes, num_tasks, config)
    sizes_of = {name: math.prod(shape) for name, shape in shapes.items()}
    tables = [name for name in shapes if name.startswith(TABLE)]
    num_logits = sum(sizes_of[name] for name in tables)
    shared = " and a shared one" if config.shared_skill else ""
    yield (
        "skills",
        f"{config.num_skills}{shared}; rank {config.train.rank} on {say_count(len(layers), 'layer')}, "
        f"{say_count(sum(sizes_of.values()) - num_logits, 'trainable parameter')} together",
    )
    yield (
        "table",
        f"{say_count(num_tasks, 'task')} x {say_count(config.num_splits, 'split')} x "
        f"{say_count(config.num_skills, 'skill')} for each {config.granularity}, "
        f"{say_count(num_logits, 'logit')}",
    )
