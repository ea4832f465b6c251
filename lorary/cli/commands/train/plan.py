"""Describe a training run before it begins."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from lorary.cli.left_out import describe_prompts
from lorary.data import Task
from lorary.files import say_count
from lorary.models import BaseModel, find_layers, layer_shape
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.folder.run_folder import count_finished
from lorary.training.loop.trainee import plan_unit

MAX_NAMES = 12


def choose_run_folder(library: str, apart: str | None) -> Path:
    """Choose a folder for a run's state: beside a local library, else under ``./runs``.

    Args:
        library: folder or URL of the library.
        apart: a suffix for runs that do not train one expert per task; else None.
    """
    name = library.rstrip("/").rpartition("/")[2] or "library"
    place = Path("runs") / name if "://" in library else Path(library)
    return place.with_name(f"{place.name}-run" + (f"-{apart}" if apart else ""))


def describe_plan(
    base: BaseModel,
    tasks: Mapping[str, Task],
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    run_folder: Path,
    fresh: bool,
) -> Iterator[tuple[str, str]]:
    """Describe a run, as pairs of label and text.

    Raises:
        IncompatibleExpert: if no layer of the base model is selected.
    """
    yield "base", describe_base(base)
    yield "tasks", f"{len(tasks)}: {list_names(list(tasks))}"
    yield "examples", describe_examples(examples, config)
    for text in describe_prompts(found.counts for found in examples.values()):
        yield "prompts", text
    yield "experts", _describe_experts(base, examples, config)
    yield "steps", describe_steps(examples, config)
    yield "state", f"{_describe_state(run_folder, examples, fresh)} {run_folder}"


def describe_base(base: BaseModel) -> str:
    """Describe the base model."""
    return f"{base.name}, {str(base.model.dtype).removeprefix('torch.')} on {base.model.device}"


def describe_examples(examples: Mapping[str, TrainingExamples], config: TrainConfig) -> str:
    """Describe the numbers of examples."""
    found = list(examples.values())
    num_held_out = sum(len(e.validation) for e in found) if config.validate_every else 0
    return f"{sum(len(e.train) for e in found):,} for training" + (
        f", {num_held_out:,} for validation" if num_held_out else ""
    )


def _describe_experts(base: BaseModel, examples: Mapping[str, TrainingExamples], config: TrainConfig) -> str:

    layers = find_layers(base.model, config.target_modules)
    parameters = config.rank * sum(sum(layer_shape(layer)) for layer in layers.values())
    at_once = min(config.num_slots, len(examples))
    return (
        f"{len(examples)}, {at_once} at a time; rank {config.rank} on {say_count(len(layers), 'layer')}, "
        f"{say_count(parameters, 'trainable parameter')} each"
    )


def describe_steps(examples: Mapping[str, TrainingExamples], config: TrainConfig) -> str:
    """Describe the steps and tokens of all units."""
    num_steps = num_tokens = 0
    for name, found in examples.items():
        batches = plan_unit(name, found, config.loop)
        num_steps += len(batches)
        num_tokens += sum(len(found.train[index]) for batch in batches for index in batch)
    early = ", fewer if experts stop early" if config.patience is not None else ""
    return f"{num_steps:,} in total, on {say_count(num_tokens, 'token')}{early}"


def _describe_state(run_folder: Path, examples: Mapping[str, TrainingExamples], fresh: bool) -> str:

    num_finished = None if fresh else count_finished(run_folder, examples)
    if num_finished is None:
        return "new run, saved in"
    return f"resumed, {num_finished} of {say_count(len(examples), 'expert')} finished, from"


def list_names(names: list[str]) -> str:
    """List the first names."""
    shown = ", ".join(names[:MAX_NAMES])
    return f"{shown}, …" if len(names) > MAX_NAMES else shown
