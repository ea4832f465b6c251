"""The WUDI merge of the experts, fine-tuned.

Source: WUDI, arXiv:2503.08099.
"""

from collections.abc import Mapping

from lorary.adaptation.methods.contract import Context, NewTask, Start
from lorary.adaptation.methods.merged import merge_chosen


def find_starts(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Start]:
    """Return the WUDI merge of each task's experts."""
    return merge_chosen(context, tasks, "wudi")
