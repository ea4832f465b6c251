"""The parameters of a model in its safetensors files, by the names that they have in the loaded model."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel

from lorary.files import parse_json_object, read_at_most

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class StoredParameter(NamedTuple):
    """The place of a parameter."""

    file: Path
    """The file."""
    name: str
    """Its name in the file."""
    shape: tuple[int, ...]
    """Its shape."""


def make_skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a language model without values, on the device ``meta``."""
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        return loader.from_config(config)


def place_parameters(folder: Path, skeleton: PreTrainedModel) -> dict[str, StoredParameter]:
    """Find all parameters of a model in its files; shared ones are listed once.

    Raises:
        KeyError: if the files lack a parameter, or have it in another shape, as where ``transformers``
            converts names or joins tensors.
        OSError, TypeError, ValueError, FormatError, SafetensorError: if files are missing or damaged.
    """
    index = folder / INDEX
    files: Any = {ONE_FILE}
    if index.is_file():
        files = set(parse_json_object(read_at_most(index), str(index))["weight_map"].values())
    stored = {}
    for file in sorted(files):
        with safe_open(folder / file, framework="pt") as opened:
            names = list(opened.keys())
            for name in names:
                shape = tuple(opened.get_slice(name).get_shape())
                stored[name] = StoredParameter(folder / file, name, shape)
    found = {}
    for name, parameter in skeleton.named_parameters():
        # Files of GPT-2 and others lack the prefix of the inner model.
        own = name if name in stored else name.removeprefix(f"{skeleton.base_model_prefix}.")
        if stored[own].shape != tuple(parameter.shape):
            raise KeyError(name)
        found[name] = stored[own]
    return found
