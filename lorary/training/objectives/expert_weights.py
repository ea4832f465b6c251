"""Weights of experts as an objective, trained by gradient: a unit is a new task, its row has the weights.

S slots, K experts of a task, G groups of layers, T tokens.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.errors import TrainingError
from lorary.experts.skills.task_table import Granularity, name_group
from lorary.files import say_count
from lorary.models import ExpertStack
from lorary.passes.split import Pass
from lorary.routing import Choice, Chooser
from lorary.training.config import TrainConfig
from lorary.training.loop.adamw import AdamW, AdamWSteps
from lorary.training.loop.contract import Objective
from lorary.training.loop.rows import ParameterRows
from lorary.training.progress import UnitProgress


class TrainedWeights(Objective[dict[str, Tensor]]):
    """The objective of ``train_weights``, see ``lorary.training.loop.contract.Objective``.

    Args:
        stack: the experts on their model.
        names: new task -> the experts that it uses, K for each.
        config: the settings of the training; its learning rate is that of the weights.
        granularity: layers that share weights.
    """

    def __init__(
        self,
        stack: ExpertStack,
        names: Mapping[str, Sequence[str]],
        config: TrainConfig,
        granularity: Granularity,
    ):
        self.stack, self.names, self.config = stack, names, config
        num_slots, num_experts = min(config.num_slots, len(names)), len(next(iter(names.values())))
        groups = {path: name_group(path, granularity) for path in stack.layers}
        device = stack.model.device
        self.rows = ParameterRows(num_slots, {group: [num_experts] for group in groups.values()}, device)
        self._places = torch.zeros(num_slots, num_experts, dtype=torch.long, device=device)
        self._chooser = _OwnWeights(
            self._places, {path: self.rows.parts[own] for path, own in groups.items()}
        )
        self._adamw = AdamW(
            learning_rate=config.learning_rate,
            schedule=config.schedule,
            warmup_ratio=config.warmup_ratio,
            max_grad_norm=config.max_grad_norm,
        )

    @torch.no_grad()
    def start(self, name: str, slot: int, num_steps: int) -> AdamWSteps:
        """Start with the mean of the experts: weights 1/K."""
        places = [self.stack.index(expert) for expert in self.names[name]]
        self._places[slot] = torch.tensor(places)
        self.rows.values[slot] = 1 / len(places)
        return self._adamw.start(self.rows.values[slot], num_steps)

    def routing(self, part: Pass) -> Chooser:
        """Return the chooser that gives each slot its own experts, with the weights in its row."""
        return self._chooser

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that a loss is finite."""
        if not math.isfinite(loss):
            raise TrainingError(
                f"task {name!r}: the {what} with weights of experts must be finite, found {loss} after "
                f"{say_count(step, 'step')}: lower the weights' learning rate "
                f"({self.config.learning_rate:g}), or check its examples"
            )
        return loss

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> dict[str, Tensor]:
        """Return a task's weights, group of layers -> ``[K]``, as copies on the CPU."""
        self.check_loss(name, "sum of weights", float(values.sum()), progress.step)
        return self.rows.copy_row(values)

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in AdamW's saved state; None if there is none."""
        return self._adamw.find_fault(tensors, num_steps, self.rows.num_parameters)


class _OwnWeights:
    """A chooser that gives each token the experts of its slot.

    Args:
        places: the experts' places in the stack, ``[S, K]``.
        weights: module path -> their weights, ``[S, K]``.
    """

    def __init__(self, places: Tensor, weights: Mapping[str, Tensor]):
        self.places, self.weights = places, weights

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Choose the experts of each token's slot; see ``Chooser``."""
        own = rows.clamp(min=0)
        return Choice(self.places[own], self.weights[path][own] * (rows >= 0)[:, None])
