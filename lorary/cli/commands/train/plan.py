"""Describe a training run before it begins."""

from collections.abc import Iterator, Mapping

from lorary.cli.commands.train.run_place import RunPlace
from lorary.cli.commands.train.wanted import Wanted
from lorary.cli.left_out import describe_prompts
from lorary.data import Task
from lorary.files import say_count
from lorary.models import BaseModel, find_layers, layer_shape
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.folder.run_folder import count_finished
from lorary.training.loop.trainee import plan_unit
from lorary.training.memory import estimate_bytes, say_gigabytes

MAX_NAMES = 12


def describe_wanted(wanted: Wanted) -> Iterator[tuple[str, str]]:
    """Describe experts that need no training or start from others, as pairs of label and text."""
    if wanted.known:
        yield "known", f"{list_known(wanted)}: already in the library, from the same data and settings"
    if wanted.on_top_of is not None:
        yield "on top of", f"{wanted.on_top_of.name}, which is always active and not changed"
    for name, start in (wanted.starts or {}).items():
        if name not in wanted.known:
            yield "continue", f"{name} starts from the weights of {start.name}"


def list_known(wanted: Wanted) -> str:
    """Count and name the experts that need no training."""
    return f"{say_count(len(wanted.known), 'expert')} ({list_names(list(wanted.known))})"


def describe_plan(
    base: BaseModel,
    tasks: Mapping[str, Task],
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    place: RunPlace,
) -> Iterator[tuple[str, str]]:
    """Describe a run, as pairs of label and text.

    Args:
        base: the base model.
        tasks: the tasks of the command.
        examples: name -> examples, of the experts of the run.
        config: the configuration.
        place: the run's folder.

    Raises:
        IncompatibleExpert: if no layer of the base model is selected.
    """
    yield "base", describe_base(base)
    yield "tasks", f"{len(tasks)}: {list_names(list(tasks))}"
    yield "examples", describe_examples(examples, config)
    for text in describe_prompts(found.counts for found in examples.values()):
        yield "prompts", text
    yield "experts", _describe_experts(base, examples, config)
    yield "memory", _describe_memory(base, examples, config)
    yield "steps", describe_steps(examples, config)
    yield "state", f"{_describe_state(place, examples)} {place.folder}{_describe_passed(place)}"


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
    """Describe the steps and tokens of all units, and the tokens whose gradients make a step."""
    num_steps = num_tokens = 0
    for name, found in examples.items():
        batches = plan_unit(name, found, config.loop)
        num_steps += len(batches)
        num_tokens += sum(len(found.train[index]) for batch in batches for index in batch)
    early = ", fewer if experts stop early" if config.patience is not None else ""
    mean = round(num_tokens / max(1, num_steps))
    return (
        f"{num_steps:,} in total, on {say_count(num_tokens, 'token')}{early}; a step of an expert: about "
        f"{say_count(mean, 'token')}, accumulated over passes of at most {config.tokens_per_pass:,}"
    )


def _describe_memory(base: BaseModel, examples: Mapping[str, TrainingExamples], config: TrainConfig) -> str:
    needed = estimate_bytes(find_layers(base.model, config.target_modules), config, len(examples))
    return f"about {say_gigabytes(needed.on_device)} beside the base model and its activations"


def _describe_state(place: RunPlace, examples: Mapping[str, TrainingExamples]) -> str:
    num_finished = None if place.fresh else count_finished(place.folder, examples)
    if num_finished is None:
        return "new run, saved in"
    return f"resumed, {num_finished} of {say_count(len(examples), 'expert')} finished, from"


def _describe_passed(place: RunPlace) -> str:
    if not place.passed:
        return ""
    return f" (other trainings are unfinished in {', '.join(map(str, place.passed))}, which are kept)"


def list_names(names: list[str]) -> str:
    """List the first names."""
    shown = ", ".join(names[:MAX_NAMES])
    return f"{shown}, …" if len(names) > MAX_NAMES else shown
