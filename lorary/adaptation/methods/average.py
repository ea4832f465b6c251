"""The mean of the experts' weight changes, fine-tuned.

Source: the regime "library mean" of arXiv:2405.11157.
"""

from collections.abc import Mapping

from lorary.adaptation.methods.contract import Context, NewTask, Start
from lorary.adaptation.methods.merged import merge_chosen


def find_starts(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Start]:
    """Return the mean ``1/E sum_e b_e a_e`` of each task's experts."""
    return merge_chosen(context, tasks, "linear")
