"""``lorary merge --method regmean``: layer inputs of each expert, from examples of its own tasks."""

from collections.abc import Mapping, Sequence

from jsonargparse import Namespace
from torch import Tensor

from lorary.cli.base_model import load_experts_base, read_device
from lorary.cli.console import show_status
from lorary.cli.left_out import tell_prompts
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.data import Task
from lorary.experts import Expert
from lorary.experts.on_top import join_general
from lorary.facts import collect_inputs
from lorary.facts.own_texts import OwnText
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.library.general import take_general
from lorary.models import BaseModel, attach_experts
from lorary.training import prepare_examples
from lorary.transforms import MergeRecipe


def collect_activations(
    options: Namespace, library: Library, experts: Mapping[str, Expert], recipe: MergeRecipe
) -> dict[str, list[Tensor]]:
    """Run examples of every expert's own tasks with that expert, and collect the inputs of its layers.

    Args:
        options: the command's options.
        library: says which tasks experts were trained on.
        experts: its experts, for one base model.
        recipe: the merge.

    Returns:
        Module path -> inputs of that layer ``[N, I]``, one tensor per expert.

    Raises:
        ValueError: if an expert has no task in ``--tasks``.
        DataError: if a task cannot be read, or has no training example.
    """
    tasks = read_tasks(options)
    own = find_tasks_of_each(library, recipe.names, tasks)
    chosen = {name: experts[name] for name in recipe.names}
    base = load_experts_base(chosen, read_device(options))
    with show_status(f"collecting layer inputs of {say_count(len(chosen), 'expert')}"):
        texts = prepare_texts(options, base, tasks, own)
        stack = attach_experts(base.model, join_general(chosen, take_general(library, recipe.names)))
        activations = collect_inputs(stack, texts)
    stack.detach()
    return activations


def find_tasks_of_each(
    library: Library, names: Sequence[str], tasks: Mapping[str, Task]
) -> dict[str, list[str]]:
    """Find the tasks that each expert was trained on; if its card names none, the task of the expert's name.

    Raises:
        ValueError: with the first expert that has no task in ``tasks``.
    """
    trained = {entry.name: entry.own_tasks for entry in library.entries()}
    own = {name: [task for task in trained[name] if task in tasks] for name in names}
    lacking = [name for name, found in own.items() if not found]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ValueError(
            f"method 'regmean' needs training examples of every expert's own task, but --tasks has none for "
            f"expert {quote(lacking[0])}{more}: add their tasks, or leave out these experts"
        )
    return own


def prepare_texts(
    options: Namespace, base: BaseModel, tasks: Mapping[str, Task], own: Mapping[str, Sequence[str]]
) -> dict[str, list[OwnText]]:
    """Tokenise training examples, prompts with answers, alternating between an expert's tasks."""
    wanted = {task: tasks[task] for found in own.values() for task in found}
    examples = prepare_examples(
        base.tokenizer,
        wanted,
        read_task_template(options),
        is_encoder_decoder=base.is_encoder_decoder,
    )
    tell_prompts((found.counts for found in examples.values()), "examples of the experts' tasks")
    texts: dict[str, list[OwnText]] = {}
    for name, found in own.items():
        ranked = [(rank, each) for task in found for rank, each in enumerate(examples[task].train)]
        chosen = [each for _, each in sorted(ranked, key=lambda row: row[0])]
        joined = [(*each.prompt_ids, *each.target_ids) for each in chosen]
        texts[name] = [*chosen] if base.is_encoder_decoder else [*joined]
    return texts
