"""Running token sequences through a model with experts, in layouts that do not change the results."""

from lorary.passes.layout import Layout, find_layout
from lorary.passes.left_padding import can_pad_left
from lorary.passes.run import score_pass
from lorary.passes.split import Pass, read_whole, split_passes

__all__ = [
    "Layout",
    "Pass",
    "can_pad_left",
    "find_layout",
    "read_whole",
    "score_pass",
    "split_passes",
]
