"""Finished units of a run whose products are tensors, such as gates: one file for each unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from lorary.training.folder.state_file import read_tensors
from lorary.training.tensor_checks import find_shape_fault

TENSORS = "tensors.safetensors"


@dataclass(frozen=True)
class TensorForm:
    """The ``ProductForm`` of a run whose products are tensors (see ``lorary.training.folder.finished``)."""

    shapes: Mapping[str, Sequence[int]]
    """Tensor name -> shape, for all tensors of a product."""
    files: tuple[str, ...] = (TENSORS,)

    def write(self, product: Mapping[str, Tensor]) -> dict[str, bytes]:
        """Return the file of float32 tensors, by name."""
        return {TENSORS: save(dict(product))}

    def read(self, folder: Path, name: str, hashes: Mapping[str, str], num_steps: int) -> dict[str, Tensor]:
        """Read the tensors, and check names, shapes and finite values; see ``ProductForm``."""
        _, tensors = read_tensors(folder / TENSORS)
        fault = find_shape_fault(tensors, self.shapes)
        if fault:
            raise ValueError(fault)
        return tensors
