"""What routers need that know examples of the experts' tasks, found from the training examples of these."""

from collections.abc import Collection, Mapping, Sequence

from lorary.assembly import RoutedModel
from lorary.cli.bars import show_count
from lorary.cli.console import show_status
from lorary.data import Task, Template
from lorary.facts import find_task_facts, list_task_facts
from lorary.files import quote
from lorary.library import Library
from lorary.training import prepare_examples


def find_task_of_each(
    experts: Sequence[str], own: Mapping[str, str], tasks: Mapping[str, Task], routers: Collection[str]
) -> dict[str, Task]:
    """Find the task that each expert was trained on, for the routers that need examples of it.

    Args:
        experts: names of all experts.
        own: task -> its own expert.
        tasks: the tasks at hand.
        routers: names of routers.

    Returns:
        Expert -> task, or nothing if no router needs any.

    Raises:
        ValueError: if a router does and the task of an expert is not at hand, or has no training examples, or
            an expert is that of several tasks.
    """
    picky = [router for router in routers if list_task_facts([router])]
    if not picky:
        return {}
    found = {expert: tasks[task] for task, expert in own.items() if tasks[task].splits.get("train")}
    shared = [expert for expert in found if list(own.values()).count(expert) > 1]
    if shared:
        raise ValueError(
            f"router {quote(picky[0])} needs examples of every expert's one task, but expert "
            f"{quote(shared[0])} is that of several: leave that router out"
        )
    missing = [expert for expert in experts if expert not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"router {quote(picky[0])} needs training examples of every expert's own task, but --tasks has "
            f"none for expert {quote(missing[0])}{more}: name their tasks too, or leave that router out"
        )
    return {expert: found[expert] for expert in experts}


def provide_material(
    model: RoutedModel,
    library: Library,
    task_of: Mapping[str, Task],
    template: Template,
    routers: Collection[str],
) -> None:
    """Take what the routers need from the library's artifacts, or find it and keep it there."""
    needs = list_task_facts(routers)
    if not needs:
        return
    with show_status("reading examples of the experts' tasks"):
        examples = prepare_examples(model.tokenizer, task_of, template)
    with show_count(f"finding the {' and '.join(needs)} of {len(examples)} experts") as show:
        found = find_task_facts(model, library, examples, needs, on_progress=show)
    model.provide(found, names=list(examples))
