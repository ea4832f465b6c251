"""Texts that a base model generated and that come with this package, so that its first use is faster."""

from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).with_name("written")


def read_shipped_texts(fingerprint: str) -> Tensor | None:
    """Return the shipped texts of a base model; None if the package has none.

    ``write_texts`` generated them once. Sampling gives other texts on other machines, so shipped texts also
    make the calibrations of the embedded base model equal on all machines.

    Args:
        fingerprint: of the base model, see ``fingerprint_model``.

    Returns:
        Token ids ``[num_texts, length]``.
    """
    file = FOLDER / f"{fingerprint}.txt"
    if not file.is_file():
        return None
    return torch.tensor([[int(word) for word in line.split()] for line in file.read_text().splitlines()])
