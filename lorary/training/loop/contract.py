"""The contract between the loop and what it trains.

A *unit* is what is trained to one end: it has a name, examples, a row of parameters, an optimiser, a
schedule and an early stop of its own, and becomes one product. Units never touch each other, so each comes
out as if it had been trained alone. What shares parameters must therefore be one unit: skills that several
tasks share are one row together with the tables of these tasks, and its examples are those of all of them.

P parameters of a unit, N target tokens of a pass.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from lorary.data import TokenizedExample
from lorary.models import ExpertStack
from lorary.passes import Pass
from lorary.routing import Chooser
from lorary.training.loop.rows import ParameterRows
from lorary.training.progress import UnitProgress

Product = TypeVar("Product")
"""What a finished unit becomes: an expert, gates, weights of experts."""
ProductT_co = TypeVar("ProductT_co", covariant=True)


class Optimizer(Protocol):
    """Changes the parameters of one unit, step after step."""

    def step(self, gradient: Tensor, loss: float) -> None:
        """Take a step: change the unit's row in place.

        Args:
            gradient: of the loss, ``[P]``, which may be overwritten; zeros where the rows have none.
            loss: of the step's batch, under the values before the step.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Give its state, float32; what follows from the losses of the steps need not be in it."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], progress: UnitProgress) -> None:
        """Take up a state: ``tensors`` as it was saved, on the CPU, after the steps of ``progress``."""
        ...


class Objective(Protocol[ProductT_co]):
    """What is trained: parameters, the loss and the routing of a pass, and what a finished unit becomes."""

    stack: ExpertStack
    """The model that runs, and the experts on it."""
    rows: ParameterRows
    """The parameters of the units in training, a row for each slot."""

    def start(self, name: str, slot: int, num_steps: int) -> Optimizer:
        """Put a unit's first values into a slot's row, and give its optimiser."""
        ...

    def request(self, slot: int, example: TokenizedExample) -> int:
        """Say which request an example belongs to, from 0: those of one request are routed alike."""
        ...

    def routing(self, part: Pass) -> Chooser | None:
        """Give the chooser of a pass's requests; None for the base model alone."""
        ...

    def losses(self, part: Pass, examples: Sequence[TokenizedExample], chooser: Chooser | None) -> Tensor:
        """Run a pass; give the loss of each target token, ``[N]``, float32: example after example.

        A unit's loss is the mean over its own target tokens. A term that is not a token's own is added to
        each of the unit's tokens.
        """
        ...

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Look at a unit's loss after some steps; give the finite number to go on with.

        Raises:
            TrainingError: if the unit cannot go on from there.
        """
        ...

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> ProductT_co:
        """Make a finished unit's product from its values ``[P]``.

        Raises:
            TrainingError: if they are not finite.
        """
        ...

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Say what is wrong with tensors that are to be an optimiser's state after some steps, or None."""
        ...
