"""Finished searches for weights of a run: one JSON file."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lorary.files import quote
from lorary.training.folder.run_files import read_record
from lorary.training.objectives.lorahub import LorahubResult

WEIGHTS = "weights.json"


@dataclass(frozen=True)
class LorahubForm:
    """The ``ProductForm`` of a search for weights (see ``lorary.training.folder.finished``)."""

    names: Sequence[str]
    """The experts that take part."""
    files: tuple[str, ...] = (WEIGHTS,)

    def write(self, product: LorahubResult) -> dict[str, bytes]:
        """Return the file of the weights and losses, by name."""
        return {WEIGHTS: (json.dumps(asdict(product), allow_nan=False) + "\n").encode()}

    def read(self, folder: Path, name: str, hashes: Mapping[str, str], num_steps: int) -> LorahubResult:
        """Read the weights, and check experts and numbers; see ``ProductForm``."""
        record = read_record(folder / WEIGHTS)
        weights = record.get("weights")
        if not isinstance(weights, dict) or list(weights) != list(self.names):
            raise ValueError(f"{WEIGHTS} must have a weight for each expert, found {quote(weights, 60)}")
        losses = [record.get("loss"), record.get("base_loss")]
        for number in [*weights.values(), *losses]:
            if type(number) not in (int, float) or not math.isfinite(number):
                raise ValueError(f"{WEIGHTS} must have finite numbers, found {quote(number, 60)}")
        return LorahubResult(weights=weights, loss=record["loss"], base_loss=record["base_loss"])
