"""A short hash by which a base model is known again, whatever it is called and wherever it lies."""

import hashlib

import torch
from transformers import PreTrainedModel

SAMPLES_PER_TENSOR = 16


@torch.no_grad()
def fingerprint_model(model: PreTrainedModel) -> str:
    """Hash a model's architecture and a sample of its weights.

    Each parameter adds its name, its shape and up to 16 evenly spaced values, rounded to bfloat16 so that a
    checkpoint loaded as float32 or as bfloat16 has one fingerprint. (float16 may round some values
    differently.)

    Args:
        model: a base model without experts on it.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(model.config.model_type.encode())
    for name, parameter in sorted(model.named_parameters()):
        flat = parameter.detach().reshape(-1)
        stride = max(1, flat.numel() // SAMPLES_PER_TENSOR)
        sample = flat[::stride][:SAMPLES_PER_TENSOR]
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(sample.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]
