"""The fingerprint of a model from its files, such as that of a model that was quantised while it was loaded.

Only the sampled values are read, so that it takes neither the time nor the memory of loading the model.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig

from lorary.errors import FormatError
from lorary.models.fingerprint import Sample, hash_samples, hash_settings, space_samples
from lorary.models.stored_parameters import StoredParameter, make_skeleton, place_parameters


def fingerprint_files(folder: str | Path, config: PreTrainedConfig) -> str | None:
    """Hash a model in a folder as ``fingerprint_model`` hashes it after it was loaded.

    Args:
        folder: a ``transformers`` folder with safetensors.
        config: its configuration.

    Returns:
        The fingerprint; None if names or shapes in the files differ from those of the loaded model, as
        ``transformers`` converts some, or if the files cannot be read.
    """
    try:
        places = place_parameters(Path(folder), make_skeleton(config))
        return fingerprint_places(places, config)
    except (OSError, ValueError, KeyError, TypeError, FormatError, SafetensorError):
        return None


def fingerprint_places(places: Mapping[str, StoredParameter], config: PreTrainedConfig) -> str:
    """Hash a model whose parameters are known in their files."""
    return hash_samples(config, list(_sample_files(places))) + hash_settings(config)


def _sample_files(places: Mapping[str, StoredParameter]) -> Iterator[Sample]:
    files: dict[Path, list[str]] = {}
    for name, place in places.items():
        files.setdefault(place.file, []).append(name)
    for file, names in files.items():
        with safe_open(file, framework="pt") as opened:
            for name in names:
                shape = places[name].shape
                yield Sample(name, shape, _read_samples(opened.get_slice(places[name].name), shape))


def _read_samples(stored: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """Read a tensor's samples, a row of a matrix at a time; ``stored`` is a slice of safetensors."""
    if len(shape) != 2:
        values = stored[:].reshape(-1)
        return values[list(space_samples(values.numel()))]
    width = shape[1]
    places = [divmod(place, width) for place in space_samples(shape[0] * width)]
    return torch.cat([stored[row : row + 1].reshape(-1)[column : column + 1] for row, column in places])
