"""The fingerprint of a model that was quantised while it was loaded, from its files.

Only the sampled values are read, so that it takes neither the time nor the memory of loading the model.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig

from lorary.errors import FormatError
from lorary.files import parse_json_object, read_at_most
from lorary.models.fingerprint import Sample, hash_samples, hash_settings, space_samples

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def fingerprint_files(folder: str | Path, config: PreTrainedConfig) -> str | None:
    """Hash a model in a folder as ``fingerprint_model`` hashes it after it was loaded.

    Args:
        folder: a ``transformers`` folder with safetensors.
        config: its configuration.

    Returns:
        The fingerprint; None if names or shapes in the files differ from those of the loaded model, as
        ``transformers`` converts some, or if the files cannot be read.
    """
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = loader.from_config(config)
    try:
        samples = list(_sample_files(Path(folder), model))
    except (OSError, ValueError, KeyError, TypeError, FormatError, SafetensorError):
        return None
    return hash_samples(config, samples) + hash_settings(config)


def _sample_files(folder: Path, model: nn.Module) -> Iterator[Sample]:
    """Read the samples of all parameters; a ``KeyError`` is a parameter that the files lack."""
    index = folder / INDEX
    places: Any = {}
    if index.is_file():
        places = parse_json_object(read_at_most(index), str(index))["weight_map"]
    wanted: dict[str, list[str]] = {}
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name in shapes:
        wanted.setdefault(places[name] if places else ONE_FILE, []).append(name)
    for file, names in wanted.items():
        with safe_open(folder / file, framework="pt") as opened:
            known = set(opened.keys())
            for name in names:
                if name not in known or tuple(opened.get_slice(name).get_shape()) != shapes[name]:
                    raise KeyError(name)
                yield Sample(name, shapes[name], _read_samples(opened.get_slice(name), shapes[name]))


def _read_samples(stored: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """Read a tensor's samples, a row of a matrix at a time; ``stored`` is a slice of safetensors."""
    if len(shape) != 2:
        values = stored[:].reshape(-1)
        return values[list(space_samples(values.numel()))]
    width = shape[1]
    places = [divmod(place, width) for place in space_samples(shape[0] * width)]
    return torch.cat([stored[row : row + 1].reshape(-1)[column : column + 1] for row, column in places])
