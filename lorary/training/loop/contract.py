"""The contract between the loop and its objectives.

A *unit* has its own name, examples, row of parameters, optimiser, schedule and early stopping, and becomes
one product. Units do not influence each other, so each has the same result as if it were trained alone.
Therefore everything that shares parameters must be one unit: skills that several tasks share, with a table
for each task, are one row, and the unit's examples are those of all these tasks.

P parameters of a unit, N target tokens of a pass.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from lorary.data import TokenizedExample
from lorary.models import ExpertStack
from lorary.passes import score_pass
from lorary.passes.layout import Layout
from lorary.passes.split import Pass
from lorary.routing import Chooser
from lorary.training.loop.rows import ParameterRows
from lorary.training.progress import UnitProgress

Product = TypeVar("Product")
"""The result of a finished unit: an expert, gates, or weights of experts."""
ProductT_co = TypeVar("ProductT_co", covariant=True)


class Optimizer(Protocol):
    """Changes the parameters of one unit, step by step."""

    def step(self, gradient: Tensor, loss: float) -> None:
        """Change the unit's row in place.

        Args:
            gradient: of the loss, ``[P]``, which may be overwritten; zeros if the rows have no gradients.
            loss: of the step's batch, with the values before the step.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return the part of its state that cannot be computed from the losses of the steps, float32."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], progress: UnitProgress) -> None:
        """Continue from a saved state.

        Args:
            tensors: the saved state, on the CPU.
            progress: the progress at that time.
        """
        ...


class Objective(Protocol[ProductT_co]):
    """What is trained: parameters, loss and routing of a pass, and the product of a finished unit."""

    stack: ExpertStack
    """The experts on the model that runs."""
    rows: ParameterRows
    """The parameters of the units in training, one row for each slot."""
    layout: Layout | None = None
    """How passes are laid out, if only one layout suits; None for the first exact one that a trial finds."""

    def start(self, name: str, slot: int, num_steps: int) -> Optimizer:
        """Write a unit's initial values into a slot's row, and return its optimiser."""
        ...

    def request(self, slot: int, example: TokenizedExample) -> int:
        """Return the request of an example, from 0; examples of one request use the same experts.

        By default it is the slot.
        """
        return slot

    def routing(self, part: Pass) -> Chooser | None:
        """Return the chooser for a pass's requests; None for the base model alone."""
        ...

    def losses(self, part: Pass, examples: Sequence[TokenizedExample], chooser: Chooser | None) -> Tensor:
        """Run a pass, and return the loss of each target token, ``[N]``, float32, in the order of examples.

        By default these are the negative log-likelihoods. A unit's loss is the mean over its target tokens.
        """
        return score_pass(self.stack, part, chooser)

    def survey(self, parts: Sequence[Pass]) -> None:
        """Inspect all passes of a step before the first of them has gradients; by default nothing happens."""
        return

    def penalty(self, chooser: Chooser | None) -> Tensor | None:
        """Return what the pass that has just run adds to the losses of its units; None for nothing.

        Its gradient is added to theirs. The losses of curves and validations are without it. It is a sum over
        the units of the pass, and over the passes of a step it must add up to each unit's whole penalty.

        Args:
            chooser: the pass's, from ``routing``.
        """
        return None

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check a unit's loss after some steps, and return a finite loss to continue with.

        Args:
            name: the unit's name.
            what: name of the loss, for messages.
            loss: the loss, which may not be finite.
            step: number of steps taken.

        Raises:
            TrainingError: if the unit cannot continue with this loss.
        """
        ...

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> ProductT_co:
        """Make a finished unit's product from its values ``[P]``.

        Raises:
            TrainingError: if they are not finite.
        """
        ...

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in an optimiser's saved state after some steps; None if there is none."""
        ...
