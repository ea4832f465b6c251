"""Whether a model is a decoder alone, or an encoder with a decoder, and the inputs that each kind needs.

B texts, L tokens of each.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


def is_encoder_decoder(model: PreTrainedModel) -> bool:
    """Return whether a model reads a prompt with an encoder and writes the answer with a decoder, as T5 does.

    The configuration says it; classes of a decoder alone, such as ``BartForCausalLM``, set it to False.
    """
    return bool(model.config.is_encoder_decoder)


def reading_inputs(model: PreTrainedModel, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the arguments by which a model reads texts, for hooks on layers that read these texts.

    Args:
        model: the model.
        inputs: its keyword arguments, with ``input_ids [B, L]``.

    Returns:
        The same; for an encoder with a decoder, also one token per text that the decoder starts with. Which
        one does not matter to the layers that read the texts: the encoder and the keys and values of
        cross-attention.
    """
    if not is_encoder_decoder(model):
        return dict(inputs)
    start = torch.zeros(len(inputs["input_ids"]), 1, dtype=torch.long, device=model.device)
    return {**inputs, "decoder_input_ids": start}


def repeat_start(texts: Tensor) -> Tensor:
    """Repeat the first token of texts ``[B, L]`` at their ends, ``[B, L+1]``: other texts, for a decoder."""
    return torch.cat([texts, texts[:, :1]], dim=1)
