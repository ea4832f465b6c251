"""The table of a set of skills: logits of each task for each skill, by group of layers.

G groups of layers, S skills, Q splits, D width of embeddings.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.errors import suggest
from lorary.experts.skills.choices import GRANULARITIES, Granularity
from lorary.experts.skills.mixing import compute_weights
from lorary.files import quote, say_count


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskTable:
    """The logits of each task for each skill, from which ``compute_weights`` computes weights.

    Raises:
        ValueError: with all faults of the fields.
    """

    tasks: tuple[str, ...]
    """Names of the tasks, in the order of the rows; none for skills that no task has used yet."""
    logits: Mapping[str, Tensor]
    """Group of layers -> ``[tasks, Q·S]``, the skills of a split side by side."""
    num_skills: int
    """S, without the shared skill."""
    num_splits: int = 1
    """Q, the number of equal blocks of a layer's inputs and outputs."""
    granularity: Granularity = "linear"
    """The layers that share rows."""
    has_shared: bool = False
    """Whether there is one more skill, the last one, which every task uses with weight 1."""
    embeddings: Tensor | None = None
    """An embedding of each task, ``[tasks, D]``, by which the task nearest to a prompt is found; None for
    none."""

    def __post_init__(self) -> None:
        faults = list(self._find_faults())
        if faults:
            raise ValueError("task table: " + "; ".join(faults))

    def _find_faults(self) -> list[str]:
        faults = []
        if len(set(self.tasks)) < len(self.tasks):
            faults.append(f"tasks must be different names, found {quote(list(self.tasks))}")
        if self.granularity not in GRANULARITIES:
            faults.append(
                f"granularity must be one of {', '.join(GRANULARITIES)}, found {quote(self.granularity, 60)}"
            )
        if self.num_skills < 1 or self.num_splits < 1 or not self.logits:
            faults.append(
                "there must be at least one skill, one split and one group of layers, found "
                f"{self.num_skills}, {self.num_splits} and {len(self.logits)}"
            )
        shape = [len(self.tasks), self.num_splits * self.num_skills]
        faults += [
            f"the logits of {quote(group)} must be [tasks, splits * skills] = {shape} finite numbers, found "
            f"shape {list(logits.shape)}"
            for group, logits in self.logits.items()
            if list(logits.shape) != shape or not logits.isfinite().all()
        ]
        own = self.embeddings
        if own is not None and (own.dim() != 2 or len(own) != len(self.tasks) or not own.isfinite().all()):
            faults.append(
                f"embeddings must be [tasks, D] finite numbers, {say_count(len(self.tasks), 'row')}, found "
                f"shape {list(own.shape)}"
            )
        return faults

    def index(self, task: str) -> int:
        """Return the index of a task's row.

        Raises:
            ValueError: if there is no such task; the message has the nearest names.
        """
        if task not in self.tasks:
            raise ValueError(f"task must be in the table, found {quote(task)}: {suggest(task, self.tasks)}")
        return self.tasks.index(task)

    def find_weights(self, path: str, task: str | None) -> Tensor:
        """Return the weights of the skills at one layer, ``[Q, S]``, or ``[Q, S + 1]`` with a shared skill.

        Args:
            path: the layer's module path.
            task: one of the tasks; None for a task that is not in the table: the mean of all rows, or equal
                weights if there are no rows.
        """
        logits = self.logits[name_group(path, self.granularity)].float()
        row = mean_row(logits) if task is None else logits[self.index(task)]
        return append_shared(compute_weights(row, self.num_splits), self.has_shared)


def mean_row(logits: Tensor) -> Tensor:
    """Return the mean of a group's rows ``[tasks, Q·S]``; zeros, for equal weights, if there are no rows."""
    return logits.mean(0) if len(logits) else logits.new_zeros(logits.shape[1])


def append_shared(weights: Tensor, has_shared: bool) -> Tensor:
    """Append the shared skill's weight, 1, to weights ``[*, S]``, if there is a shared skill."""
    return torch.cat([weights, torch.ones_like(weights[..., :1])], -1) if has_shared else weights


def name_group(path: str, granularity: Granularity) -> str:
    """Return the name of the group of layers whose rows a layer uses.

    Args:
        path: module path of the layer, such as ``"model.layers.3.self_attn.q_proj"``.
        granularity: the layers of a group. ``model``: all; ``block``: those of a transformer block
            (``model.layers.3``, up to the first number); ``layer``: those of a part of a block, such as its
            attention (``model.layers.3.self_attn``); ``linear``: one layer. A layer outside blocks is its own
            group, except for ``model``.
    """
    parts = path.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    if granularity == "model":
        return "model"
    if granularity == "linear" or not numbers:
        return path
    return ".".join(parts[: numbers[0] + 1] if granularity == "block" else parts[:-1])
