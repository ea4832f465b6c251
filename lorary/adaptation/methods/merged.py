"""Starts that are merges of the chosen experts."""

from collections.abc import Mapping

from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.methods.contract import Context, NewTask, Start
from lorary.files import say_count
from lorary.transforms import merge


def merge_chosen(context: Context, tasks: Mapping[str, NewTask], method: str) -> dict[str, Start]:
    """Merge each task's experts with the method's default weights; tasks with the same experts share a merge.

    Args:
        context: the experts.
        tasks: the tasks.
        method: a key of ``MERGES``.
    """
    done: dict[tuple[str, ...], Start] = {}
    for task in tasks.values():
        names = tuple(sorted(task.chosen))
        if names not in done:
            experts = {
                name: context.experts[name].with_base(context.base.name, fingerprint=context.base.fingerprint)
                for name in names
            }

            def tell(num_done: int, num_layers: int) -> None:
                stage = f"merging {say_count(len(names), 'expert')}"  # noqa: B023 (called before the next loop)
                context.on_progress(AdaptEvent(stage=stage, num_done=num_done, num_steps=num_layers))

            merged = merge(experts, method, rank="full", layers="all", on_progress=tell)
            done[names] = Start(expert=merged, weights=dict.fromkeys(names, 1 / len(names)))
    return {name: done[tuple(sorted(task.chosen))] for name, task in tasks.items()}
