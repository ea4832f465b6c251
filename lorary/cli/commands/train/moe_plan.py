"""Describe a training of a mixture-of-experts router before it begins."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from lorary.cli.commands.train.plan import describe_base, describe_examples, describe_steps, list_names
from lorary.cli.left_out import describe_prompts
from lorary.experts import Expert
from lorary.files import say_count
from lorary.models import BaseModel
from lorary.training import MoeConfig, TrainingExamples
from lorary.training.folder.run_folder import count_finished
from lorary.training.joined_tasks import join_tasks


def describe_moe_plan(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: MoeConfig,
    name: str,
    run_folder: Path,
    fresh: bool,
) -> Iterator[tuple[str, str]]:
    """Describe a run, as pairs of label and text.

    Raises:
        ValueError: if the settings do not suit the experts.
    """
    yield "base", describe_base(base)
    yield "tasks", f"{len(examples)}: {list_names(list(examples))}"
    yield "examples", describe_examples(examples, config.train)
    for text in describe_prompts(found.counts for found in examples.values()):
        yield "prompts", text
    how = "trained" if config.train_experts else "frozen"
    yield "experts", f"{len(experts)}, {how}: {list_names(list(experts))}"
    yield "router", _describe_router(experts, config)
    unit = join_tasks(examples, is_balanced=config.balanced)
    yield "steps", describe_steps({name: unit}, config.train)
    is_there = None if fresh else count_finished(run_folder, [name])
    state = "new run, saved in" if is_there is None else "finished, in" if is_there else "resumed, from"
    yield "state", f"{state} {run_folder}"


def _describe_router(experts: Mapping[str, Expert], config: MoeConfig) -> str:
    form = config.make_form(list(experts))
    widths = {path: pair.a.shape[1] for expert in experts.values() for path, pair in expert.outlines.items()}
    number = say_count(sum(form.count(width) for width in widths.values()), "parameter")
    kind = config.kind.replace("_", " ")
    groups = "" if form.groups is None else f" in each of {form.top_groups} of {form.num_groups} groups"
    shared = f", and {say_count(len(form.shared), 'shared expert')}" if form.shared else ""
    start = "from random rows" if config.warm_start == "none" else f"from {config.warm_start}"
    return f"{kind}, top {form.top_k}{groups}{shared}, {start}; {number} at {say_count(len(widths), 'layer')}"
