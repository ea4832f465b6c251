"""A short hash that identifies a base model, independently of its name and place."""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lorary.experts.base_fingerprint import SETTING_DIGITS, WEIGHT_DIGITS, Fingerprint
from lorary.models.quantized.packed_layers import is_packed_tensor, list_stored

SAMPLES_PER_TENSOR = 16
# Parts of names of settings that do not change a model's logits: training, caching, special tokens.
WITHOUT_EFFECT = ("dropout", "pdrop", "token_id", "initializer", "use_cache", "summary_", "pretraining_tp")


class Sample(NamedTuple):
    """Some values of a parameter."""

    name: str
    """The parameter's name."""
    shape: tuple[int, ...]
    """Its shape."""
    values: Tensor
    """Up to 16 of its values, evenly spaced."""


def fingerprint_model(model: PreTrainedModel, source: str | None = None) -> str:
    """Hash a model's weights and the settings that define its computation.

    Args:
        model: a base model without experts.
        source: of a quantised copy: fingerprint of the model that was quantised, if it is known.

    Returns:
        24 hexadecimal digits: 16 of the weights, then 8 of the settings. If weights are quantised, more
        follow, see ``lorary.experts.base_fingerprint``.
    """
    own = hash_samples(model.config, _sample_parameters(dict(model.named_parameters()))) + hash_settings(
        model.config
    )
    if not any(is_packed_tensor(parameter) for parameter in model.parameters()):
        return own
    return Fingerprint(own, fingerprint_kept(model), source).text


def fingerprint_kept(model: PreTrainedModel) -> str:
    """Hash the weights that quantisation keeps: all but linear layers and sub-layers of mixtures.

    Returns:
        16 hexadecimal digits, the same for a model and its quantised copies.
    """
    linear = {
        f"{path}.weight" for path, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D)
    }
    # Embeddings that the output layer shares are listed by their first name, which is not a linear layer's.
    kept = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name not in linear and parameter.ndim < 3
    }
    return hash_samples(model.config, _sample_parameters(kept))


@torch.no_grad()
def hash_samples(config: PreTrainedConfig, samples: Iterable[Sample]) -> str:
    """Hash the name, the shape and the sampled values of each parameter, in the order of their names.

    Values are rounded to bfloat16, so that a checkpoint has the same fingerprint in float32 and in bfloat16.
    In float16 some values may round differently.
    """
    digest = hashlib.sha256(config.model_type.encode())
    for name, shape, values in sorted(samples, key=lambda sample: sample.name):
        digest.update(f"{name}{shape}".encode())
        digest.update(values.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:WEIGHT_DIGITS]


def space_samples(num_values: int) -> range:
    """Return the places of a parameter's samples, among its values in their order."""
    stride = max(1, num_values // SAMPLES_PER_TENSOR)
    return range(0, num_values, stride)[:SAMPLES_PER_TENSOR]


@torch.no_grad()
def _sample_parameters(parameters: Mapping[str, nn.Parameter]) -> Iterable[Sample]:
    for name, parameter in parameters.items():
        for index, stored in enumerate(list_stored(parameter)):
            flat = stored.detach().reshape(-1)
            places = space_samples(flat.numel())
            values = flat[:: places.step][:SAMPLES_PER_TENSOR]
            yield Sample(f"{name}:{index}" if index else name, tuple(stored.shape), values)


def hash_settings(config: PreTrainedConfig) -> str:
    """Hash settings that weights' shapes do not show, such as number of heads, RoPE and norms' epsilon.

    Only settings that the architecture itself declares are used, since tools add other entries.
    """
    config = config.get_text_config()
    declared = inspect.signature(type(config)).parameters.keys() - PreTrainedConfig().to_dict().keys()
    settings = {
        name: _as_floats(value)
        for name, value in config.to_dict().items()
        if name in declared and not any(part in name for part in WITHOUT_EFFECT)
    }
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:SETTING_DIGITS]


def _as_floats(value: Any) -> Any:
    """Turn whole numbers into floats, since files have 10000 or 10000.0 for the same setting."""
    if isinstance(value, dict):
        return {str(key): _as_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_floats(item) for item in value]
    return float(value) if type(value) is int else value
