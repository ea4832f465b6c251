"""Whether a model has only a decoder, or an encoder and a decoder, and the inputs that each kind needs.

B texts, L tokens of each.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lorary.errors import BaseModelError

NO_LABEL = -100
"""The label of padding, which ``transformers``' models turn into their padding token."""


def is_encoder_decoder(model: PreTrainedModel) -> bool:
    """Return whether a model reads a prompt with an encoder and writes the answer with a decoder, as T5 does.

    The configuration determines it; classes with only a decoder, such as ``BartForCausalLM``, set it to
    False.
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


def shift_right(model: PreTrainedModel, targets: Tensor) -> Tensor:
    """Return a decoder's input for predicting targets: a start token, then all targets except the last.

    Args:
        model: the model, whose own rule is used: T5 starts with its padding token, mBART with the language of
            the target.
        targets: ``[B, D]``, padded by ``NO_LABEL``.

    Returns:
        Token ids, ``[B, D]``.

    Raises:
        BaseModelError: if the model has no rule and its configuration no ``decoder_start_token_id``.
    """
    rule = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if rule is not None:
        shifted: Tensor = rule(labels=targets)
        return shifted
    start = model.config.decoder_start_token_id
    if start is None:
        raise BaseModelError(
            f"{type(model).__name__} must have a token that its decoder starts with: set "
            "decoder_start_token_id in its configuration"
        )
    padding = model.config.pad_token_id or 0
    shifted = torch.cat([torch.full_like(targets[:, :1], start), targets[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == NO_LABEL, padding)


def repeat_start(texts: Tensor) -> Tensor:
    """Repeat the first token of texts ``[B, L]`` at their ends, ``[B, L+1]``: other texts, for a decoder."""
    return torch.cat([texts, texts[:, :1]], dim=1)
