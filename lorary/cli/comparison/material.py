"""Compute the facts that some routers need from training examples of the experts' tasks."""

from collections.abc import Collection, Mapping, Sequence

from lorary.assembly import RoutedModel
from lorary.cli.bars import show_count
from lorary.cli.console import show_status
from lorary.cli.left_out import tell_prompts
from lorary.data import Task, Template
from lorary.facts import find_task_facts, list_task_facts
from lorary.files import quote, say_count
from lorary.library.view import LibraryView
from lorary.training import prepare_examples
from lorary.training.objectives.gate_config import choose_gate_steps


def find_task_of_each(
    experts: Sequence[str], own: Mapping[str, str], tasks: Mapping[str, Task], routers: Collection[str]
) -> dict[str, Task]:
    """Find the task that each expert was trained on, if a router needs examples of it.

    Args:
        experts: names of all experts.
        own: task -> its own expert.
        tasks: the tasks of ``--tasks``.
        routers: names of routers.

    Returns:
        Expert -> task; empty if no router needs examples.

    Raises:
        ValueError: if a router needs examples, and an expert has several tasks, no task in ``tasks``, or a
            task without training examples.
    """
    picky = [router for router in routers if list_task_facts([router])]
    if not picky:
        return {}
    found = {expert: tasks[task] for task, expert in own.items() if tasks[task].splits.get("train")}
    shared = [expert for expert in found if list(own.values()).count(expert) > 1]
    if shared:
        raise ValueError(
            f"router {quote(picky[0])} needs one task per expert, but expert "
            f"{quote(shared[0])} has several: leave out that router"
        )
    missing = [expert for expert in experts if expert not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"router {quote(picky[0])} needs training examples of every expert's own task, but --tasks has "
            f"none for expert {quote(missing[0])}{more}: add their tasks, or leave out that router"
        )
    return {expert: found[expert] for expert in experts}


def provide_material(
    model: RoutedModel,
    library: LibraryView,
    task_of: Mapping[str, Task],
    template: Template,
    routers: Collection[str],
    gate_steps: int | None = None,
) -> None:
    """Load the facts that the routers need from the library's artifacts; compute and store missing ones.

    Args:
        model: the model.
        library: its experts.
        task_of: expert -> the task that it was trained on.
        template: turns examples into prompts.
        routers: names of routers.
        gate_steps: steps of a training of gates; None for ``choose_gate_steps``.
    """
    needs = list_task_facts(routers)
    if not needs:
        return
    with show_status("reading examples of the experts' tasks"):
        examples = prepare_examples(
            model.tokenizer,
            task_of,
            template,
            # One long example among thousands is no reason to refuse the router.
            truncation="skip",
            is_encoder_decoder=model.base.is_encoder_decoder,
        )
    tell_prompts((found.counts for found in examples.values()), "examples of the experts' tasks")
    steps = gate_steps or choose_gate_steps(len(found.train) for found in examples.values())
    what = f"computing the {' and '.join(needs)} of {say_count(len(examples), 'expert')}"
    what += f", {say_count(steps, 'step')} of training" if "gates" in needs else ""
    with show_count(what, is_lazy=True) as show:
        options = {"gates": {"num_steps": steps}}
        found = find_task_facts(model, library, examples, needs, options=options, on_progress=show)
    model.provide(found, names=list(examples))
