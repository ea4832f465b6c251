"""Finished units of a run that are tensors, such as gates, each kept in one file."""

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
    """What the tensors of a unit must be like, see ``lorary.training.folder.finished.ProductForm``."""

    shapes: Mapping[str, Sequence[int]]
    """Tensor name -> its shape."""
    files: tuple[str, ...] = (TENSORS,)

    def write(self, product: Mapping[str, Tensor]) -> dict[str, bytes]:
        """Give the file of float32 tensors."""
        return {TENSORS: save(dict(product))}

    def read(self, folder: Path, name: str, hashes: Mapping[str, str], num_steps: int) -> dict[str, Tensor]:
        """Read tensors of these names and shapes, all finite."""
        _, tensors = read_tensors(folder / TENSORS)
        fault = find_shape_fault(tensors, self.shapes)
        if fault:
            raise ValueError(fault)
        return tensors
