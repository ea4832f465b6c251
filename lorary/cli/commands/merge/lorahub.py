"""``lorary merge --method lorahub``: weights from a few examples of a new task, then a linear merge."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from jsonargparse import Namespace

from lorary.cli.bars import show_count
from lorary.cli.base_model import load_experts_base, read_device
from lorary.cli.commands.merge.by_examples import LORAHUB
from lorary.cli.commands.merge.recipe import choose_names, make_linear, read_pairs
from lorary.cli.left_out import tell_prompts
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.experts import Expert
from lorary.experts.on_top import join_general
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.models import BaseModel, attach_experts
from lorary.training import LorahubConfig, TrainingExamples, prepare_examples, search_weights
from lorary.training.objectives.lorahub import LorahubResult
from lorary.transforms import MergeRecipe

NUM_EXAMPLES = 16


def read_search(options: Namespace) -> LorahubConfig:
    """Build the configuration of the search from ``--options``.

    Raises:
        ValueError: if an option is unknown or out of range.
    """
    given: Mapping[str, Any] = read_pairs(options.options, "--options")
    known = list(LorahubConfig.__dataclass_fields__)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {quote(near[0])}?" if near else f"it has {', '.join(known)}"
            raise ValueError(f"method 'lorahub' has no option {quote(name)}: {hint}")
    return LorahubConfig(**given)


def outline_recipe(options: Namespace, library: Library) -> MergeRecipe:
    """Make the recipe of a linear merge whose weights are not known yet."""
    read_search(options)
    return make_linear(options, choose_names(options, library))


def run_search(
    options: Namespace, experts: Mapping[str, Expert], recipe: MergeRecipe, general: Expert | None
) -> tuple[MergeRecipe, LorahubResult]:
    """Search for the weights, on the experts' base model and the general expert that they build on.

    Returns:
        The recipe with the experts and weights of the search, and the search's result.

    Raises:
        ValueError: if there is more than one task.
        DataError: if the task cannot be read, or has no training example.
    """
    config = read_search(options)
    tasks = read_tasks(options)
    if len(tasks) != 1:
        raise ValueError(f"--method lorahub needs one task, found {len(tasks)}: name one file in --tasks")
    chosen = {name: experts[name] for name in recipe.names}
    base = load_experts_base(chosen, read_device(options))
    examples = prepare(options, base, tasks)
    stack = attach_experts(base.model, join_general(chosen, general))
    with show_count(f"searching weights on {say_count(len(examples.train), 'example')}") as show:
        found = search_weights(
            stack,
            recipe.names,
            examples.train,
            config,
            on_step=lambda step, loss: show(step, config.num_steps),
        )
    stack.detach()
    return make_linear(options, list(found.weights), found.weights), found


def prepare(options: Namespace, base: BaseModel, tasks: Mapping[str, Any]) -> TrainingExamples:
    """Tokenise the first few training examples of the task."""
    (found,) = prepare_examples(
        base.tokenizer,
        tasks,
        read_task_template(options),
        is_encoder_decoder=base.is_encoder_decoder,
    ).values()
    tell_prompts([found.counts], "training and validation examples")
    return replace(found, train=found.train[:NUM_EXAMPLES])


def note_search(expert: Expert, found: LorahubResult) -> Expert:
    """Record the losses of the search in a merged expert's card."""
    losses = {"loss": found.loss, "base_loss": found.base_loss}
    provenance = {**expert.card.provenance, LORAHUB: losses}
    return replace(expert, card=replace(expert.card, provenance=provenance))


def describe_search(found: LorahubResult) -> str:
    """Describe the search's result in one line."""
    ranked = sorted(found.weights.items(), key=lambda item: -abs(item[1]))
    shown = ", ".join(f"{name} {weight:+.2f}" for name, weight in ranked[:6])
    return f"loss on the examples {found.loss:.3f}, base model {found.base_loss:.3f}; largest weights {shown}"
