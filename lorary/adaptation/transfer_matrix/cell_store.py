"""Finished cells of a transfer matrix: one small file per cell, named by a hash of all its inputs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from lorary.adaptation.transfer_matrix.matrix import Cell
from lorary.errors import FormatError
from lorary.files import dump_json, parse_json_object, quote, read_at_most, write_whole

VERSION = 1


def make_cell_key(inputs: Mapping[str, Any]) -> str:
    """Hash everything that a cell depends on, given as JSON values."""
    return sha256(dump_json({"version": VERSION, **inputs}, indent=0).encode()).hexdigest()[:32]


class CellStore:
    """The cells in a folder, which is created with the first cell.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def load(self, key: str) -> Cell | None:
        """Return a finished cell; None if there is none.

        Raises:
            FormatError: if its file is damaged.
        """
        path = self._path(key)
        try:
            content = read_at_most(path, follow=False)
        except FileNotFoundError:
            return None
        found = parse_json_object(content, str(path), advice="delete it to measure it again")
        return _read_cell(found, path)

    def save(self, key: str, cell: Cell) -> None:
        """Write a finished cell, completely or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(key), dump_json(asdict(cell)) + "\n")

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _read_cell(found: Mapping[str, Any], path: Path) -> Cell:
    numbers: dict[str, Any] = {field.name: found.get(field.name) for field in fields(Cell)}
    losses = [numbers["before"], numbers["after"]]
    counts = [numbers["num_steps"], numbers["num_tokens"]]
    are_losses = all(type(loss) in (int, float) and math.isfinite(loss) for loss in losses)
    if found.keys() != numbers.keys() or not are_losses or any(type(n) is not int or n < 0 for n in counts):
        raise FormatError(
            f"{quote(str(path))} must have finite losses and counts ({', '.join(numbers)}): delete it "
            "to measure it again"
        )
    return Cell(**numbers)
