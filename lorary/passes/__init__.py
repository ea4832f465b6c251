"""Running token sequences through a model with experts, in layouts that do not change the results."""

from lorary.passes.layout import find_layout
from lorary.passes.run import score_pass
from lorary.passes.split import split_passes

__all__ = [
    "find_layout",
    "score_pass",
    "split_passes",
]
