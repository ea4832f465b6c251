"""Starts on new tasks as an objective: a unit is a cell, and its product is the losses.

P parameters of an expert.
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from lorary.adaptation.transfer_matrix.matrix import Cell
from lorary.data import TokenizedExample
from lorary.errors import TrainingError
from lorary.experts import Expert
from lorary.files import quote, say_count
from lorary.models import BaseModel, ExpertStack
from lorary.passes.split import Pass
from lorary.routing import Chooser
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.loop.contract import Objective, Optimizer
from lorary.training.objectives.lora import LoraExperts
from lorary.training.progress import UnitProgress
from lorary.training.starts import Starts


class TransferCells(Objective[Cell]):
    """Trains experts as ``LoraExperts`` does, but keeps only their losses.

    Args:
        stack: empty experts on the base model, one for each slot.
        base: the base model.
        examples: key of a cell -> the examples of its task.
        config: the configuration.
        starts: key of a cell -> its start; none for a new expert.
        labels: key of a cell -> the names of its start and its task, for messages.
    """

    def __init__(
        self,
        stack: ExpertStack,
        base: BaseModel,
        examples: Mapping[str, TrainingExamples],
        config: TrainConfig,
        starts: Mapping[str, Expert],
        labels: Mapping[str, tuple[str, str]],
    ):
        begun = Starts(base, stack.layers, examples, starts)
        self._experts = LoraExperts(stack, base, examples, config, begun)
        self.stack, self.rows, self._labels = stack, self._experts.rows, labels

    def start(self, name: str, slot: int, num_steps: int) -> Optimizer:
        """Begin with the cell's start, or with a new expert."""
        return self._experts.start(name, slot, num_steps)

    def request(self, slot: int, example: TokenizedExample) -> int:
        """Return the request of an example, as in the training of experts."""
        return self._experts.request(slot, example)

    def routing(self, part: Pass) -> Chooser | None:
        """Return the chooser that gives each slot its own expert."""
        return self._experts.routing(part)

    def losses(self, part: Pass, examples: Sequence[TokenizedExample], chooser: Chooser | None) -> Tensor:
        """Run a pass, and return the loss of each target token, as in the training of experts."""
        return self._experts.losses(part, examples, chooser)

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that a loss is finite."""
        if not math.isfinite(loss):
            start, task = self._labels[name]
            raise TrainingError(
                f"the {what} of start {quote(start)} on task {quote(task)} must be finite, found {loss} "
                f"after {say_count(step, 'step')}: lower the learning rate, or leave out the expert or task"
            )
        return loss

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> Cell:
        """Return the validation losses before the first and after the last step."""
        losses = [loss for _, loss in progress.validation_curve]
        return Cell(before=losses[0], after=losses[-1], num_steps=progress.step, num_tokens=progress.tokens)

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in AdamW's saved state; None if there is none."""
        return self._experts.find_optimizer_fault(tensors, num_steps)
