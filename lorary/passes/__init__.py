"""Running token sequences through a model with experts, in layouts that do not change the results."""

from lorary.passes.layout import find_layout
from lorary.passes.run import judge_pass, score_pass
from lorary.passes.split import split_passes

__all__ = [
    "find_layout",
    "judge_pass",
    "score_pass",
    "split_passes",
]
