"""Trying whether an encoder with a decoder gives padded rows the same results as each row alone."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from lorary.data import TokenizedExample
from lorary.errors import BaseModelError
from lorary.models.evaluating import MODEL_FAILURES, evaluating
from lorary.passes.agreement import Agreement
from lorary.passes.encoded import EncodedBatch, encode_sequences
from lorary.passes.prefixes import read_tokens
from lorary.passes.trial import is_exact, list_texts, measure_noise, read_texts

_KEPT: "WeakKeyDictionary[PreTrainedModel, tuple[tuple[object, ...], bool]]" = WeakKeyDictionary()


@torch.no_grad()
def can_pad_encoded(model: PreTrainedModel) -> bool:
    """Return whether rows of prompts and targets of different lengths have the same logits as alone.

    The result of the trial is remembered as long as the model exists.

    Args:
        model: any language model with an encoder and a decoder; it is not changed.

    Raises:
        BaseModelError: if it does not return logits for each token of a target.
    """
    key = (model.config._attn_implementation, model.dtype, model.device.type)
    kept = _KEPT.get(model)
    if kept is None or kept[0] != key:
        with evaluating(model):
            kept = _KEPT[model] = key, _try_rows(model)
    return kept[1]


def _try_rows(model: PreTrainedModel) -> bool:
    texts = list_texts(model)
    try:
        alone = [read_texts(model, _lay_out_as_pairs, [text])[0] for text in texts]
    except MODEL_FAILURES as error:
        raise BaseModelError(
            f"{type(model).__name__} does not return logits for each token of a short answer: {error}"
        ) from error
    agreement = Agreement(model.dtype, alone, measure_noise(model, _lay_out_as_pairs, texts[0]))
    return is_exact(model, _lay_out_as_pairs, texts, alone, agreement)


def _lay_out_as_pairs(sequences: Sequence[TokenizedExample]) -> EncodedBatch:
    """Use each text of the trial as a prompt, and its later half, reversed, as the target."""
    texts = [read_tokens(sequence) for sequence in sequences]
    return encode_sequences([TokenizedExample(text, text[: len(text) // 2 - 1 : -1]) for text in texts])
