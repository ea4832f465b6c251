"""An expert that was trained on all tasks of the library, fine-tuned: a control."""

from collections.abc import Mapping

from lorary.adaptation.methods.contract import Context, NewTask, Start


def find_starts(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Start]:
    """Return the expert that ``multi_task`` names."""
    name = context.config.multi_task
    assert name is not None  # checked before any work
    start = Start(expert=context.experts[name], weights={name: 1.0})
    return dict.fromkeys(tasks, start)
