"""Texts that a base model wrote and that come with this package, so that its first use needs no writing."""

from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).with_name("written")


def read_shipped_texts(fingerprint: str) -> Tensor | None:
    """Return the texts of a base model; None where the package has none of it.

    They are what ``write_texts`` gave once, on one machine: sampling differs from machine to machine, so
    shipped texts also make calibrations of the embedded base model the same everywhere.

    Args:
        fingerprint: of the base model, see ``fingerprint_model``.

    Returns:
        Token ids ``[num_texts, length]``.
    """
    file = FOLDER / f"{fingerprint}.txt"
    if not file.is_file():
        return None
    return torch.tensor([[int(word) for word in line.split()] for line in file.read_text().splitlines()])
