"""AdamW with separate settings for parts of a row, such as a larger learning rate for a table.

P parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lorary.training.loop.adamw import AdamW
from lorary.training.progress import UnitProgress


@dataclass(frozen=True)
class AdamWParts:
    """The parts of a row with their settings; ``start`` makes the optimiser of a row."""

    parts: Mapping[str, tuple[AdamW, int]]
    """Name of a part -> its settings and its number of parameters, in the order of the row."""

    def start(self, values: Tensor, num_steps: int) -> "AdamWPartsSteps":
        """Make the optimiser of a row ``[P]``, which it changes in place; see ``AdamW.start``."""
        return AdamWPartsSteps(self, values, num_steps)

    def find_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in an optimiser's saved state; see ``AdamW.find_fault``."""
        unknown = sorted(key for key in tensors if key.partition(".")[0] not in self.parts)
        if unknown:
            return f"its optimiser must have the parts {', '.join(self.parts)} only, found {unknown[0]!r}"
        for name, (settings, size) in self.parts.items():
            fault = settings.find_fault(_take_part(tensors, name), num_steps, size)
            if fault:
                return f"part {name!r}: {fault}"
        return None


class AdamWPartsSteps:
    """The optimiser of one row, see ``lorary.training.loop.contract.Optimizer``."""

    def __init__(self, kind: AdamWParts, values: Tensor, num_steps: int):
        self._sizes = [size for _, size in kind.parts.values()]
        self._steps = {
            name: settings.start(part, num_steps)
            for (name, (settings, _)), part in zip(kind.parts.items(), values.split(self._sizes), strict=True)
        }

    @property
    def num_taken(self) -> int:
        """Number of steps taken."""
        return next(iter(self._steps.values())).num_taken

    def step(self, gradient: Tensor, loss: float) -> None:
        """Clip each part's gradient by its own norm, and take one step with it."""
        for part, own in zip(self._steps.values(), gradient.split(self._sizes), strict=True):
            part.step(own, loss)

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments and the numbers of steps of all parts."""
        return {
            f"{name}.{key}": value
            for name, part in self._steps.items()
            for key, value in part.tensors().items()
        }

    def restore(self, tensors: Mapping[str, Tensor], progress: UnitProgress) -> None:
        """Continue from a saved state; see ``Optimizer``."""
        for name, part in self._steps.items():
            part.restore(_take_part(tensors, name), progress)


def _take_part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): own for key, own in tensors.items() if key.startswith(f"{name}.")}
