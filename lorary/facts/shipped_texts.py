"""Texts that a base model generated and that come with this package, so that its first use is faster."""

from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).with_name("written")


def read_shipped_texts(fingerprint: str, settings: str) -> Tensor | None:
    """Return the shipped texts of a base model; None if the package has none with these settings.

    ``write_texts`` generated them once. Sampling gives other texts on other machines, so shipped texts also
    make the calibrations of the embedded base model equal on all machines.

    Args:
        fingerprint: of the base model, see ``fingerprint_model``. It may come from a file of others, so it is
            compared with names of files, and is never a part of a path.
        settings: how the texts must have been generated; the first line of the file.

    Returns:
        Token ids ``[num_texts, length]``.
    """
    file = next((file for file in FOLDER.iterdir() if file.name == f"{fingerprint}.txt"), None)
    if file is None:
        return None
    first, *lines = file.read_text().splitlines()
    return (
        torch.tensor([[int(word) for word in line.split()] for line in lines]) if first == settings else None
    )


def format_texts(texts: Tensor, settings: str) -> str:
    """Return the content of a file of shipped texts.

    Args:
        texts: token ids ``[num_texts, length]``.
        settings: how they were generated.
    """
    return "\n".join([settings, *(" ".join(map(str, ids)) for ids in texts.tolist()), ""])
