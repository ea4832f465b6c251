"""A short hash that identifies a base model, independently of its name and place."""

import hashlib
import inspect
import json
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from lorary.experts.base_names import WEIGHT_DIGITS

SAMPLES_PER_TENSOR = 16
SETTING_DIGITS = 8
# Parts of names of settings that do not change a model's logits: training, caching, special tokens.
WITHOUT_EFFECT = ("dropout", "pdrop", "token_id", "initializer", "use_cache", "summary_", "pretraining_tp")


def fingerprint_model(model: PreTrainedModel) -> str:
    """Hash a model's weights and the settings that define its computation.

    Args:
        model: a base model without experts.

    Returns:
        24 hexadecimal digits: 16 of the weights, then 8 of the settings.
    """
    return _hash_weights(model) + _hash_settings(model)


@torch.no_grad()
def _hash_weights(model: PreTrainedModel) -> str:
    """Hash the name, the shape and up to 16 evenly spaced values of each parameter.

    Values are rounded to bfloat16, so that a checkpoint has the same fingerprint in float32 and in bfloat16.
    In float16 some values may round differently.
    """
    digest = hashlib.sha256(model.config.model_type.encode())
    for name, parameter in sorted(model.named_parameters()):
        flat = parameter.detach().reshape(-1)
        stride = max(1, flat.numel() // SAMPLES_PER_TENSOR)
        sample = flat[::stride][:SAMPLES_PER_TENSOR]
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(sample.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:WEIGHT_DIGITS]


def _hash_settings(model: PreTrainedModel) -> str:
    """Hash settings that weights' shapes do not show, such as number of heads, RoPE and norms' epsilon.

    Only settings that the architecture itself declares are used, since tools add other entries.
    """
    config = model.config.get_text_config()
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
