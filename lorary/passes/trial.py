"""Trying which layouts of a forward pass give each sequence the same result as alone.

B rows, L row length, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lorary.data import TokenizedExample
from lorary.errors import BaseModelError
from lorary.models import select_positions
from lorary.models.evaluating import MODEL_FAILURES, evaluating
from lorary.passes.packing import Batch, pack_sequences, pad_sequences

# Three texts with an equal beginning, one of them longer, and two with other beginnings.
_TEXTS = (
    (5, 6, 7, 8, 9, 10),
    (5, 6, 7, 11, 12, 13, 14, 15, 16),
    (17, 18),
    (5, 6, 7, 19),
    (20, 21, 22, 23, 24),
)
_BEGINNING = (5, 6, 7)
# Added to the tokens after the beginning to change a text; sorting the texts gives the same order as before.
_OTHERWISE = 25
# Largest error of equal logits, in units of their standard deviation. Rounding in float32 gives about 1e-6.
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 5e-5}
_HALF_TOLERANCE = 0.05


@dataclass(frozen=True)
class Tried:
    """The layouts that are exact on a model, for short texts."""

    masked: bool
    """Rows of several texts that share beginnings, with an attention mask."""
    packed: bool
    """Rows of several texts, distinguished by ``position_ids``."""
    padded: bool
    """Rows of one text each, padded on the right."""


_KEPT: "WeakKeyDictionary[PreTrainedModel, tuple[tuple[object, ...], Tried]]" = WeakKeyDictionary()


@torch.no_grad()
def try_model(model: PreTrainedModel) -> Tried:
    """Try each layout on a model; the result is remembered as long as the model exists.

    Args:
        model: any causal language model; it is not changed.

    Raises:
        BaseModelError: if it does not return logits for each token, or a token attends to later tokens.
    """
    key = (model.config._attn_implementation, model.dtype)
    kept = _KEPT.get(model)
    if kept is None or kept[0] != key:
        with evaluating(model):
            kept = _KEPT[model] = key, _try_layouts(model)
    return kept[1]


def _try_layouts(model: PreTrainedModel) -> Tried:
    vocabulary = model.get_input_embeddings().weight.shape[0]
    texts = [[token % vocabulary for token in text] for text in _TEXTS]
    try:
        alone = [_read(model, pad_sequences(_as_sequences([text])))[0] for text in texts]
    except MODEL_FAILURES as error:
        raise BaseModelError(
            f"{type(model).__name__} does not return logits for each token of a short text: {error}"
        ) from error
    _check_causal(model, texts[0], alone[0], vocabulary)
    row = max(len(text) for text in texts) * 2
    masked = partial(pack_sequences, row_length=row, groups=[0] * len(texts), always_mask=True)
    packed = partial(pack_sequences, row_length=row)
    takes_masks = model.config._attn_implementation in ("eager", "sdpa")
    return Tried(
        masked=takes_masks and _is_exact(model, masked, texts, alone, vocabulary),
        packed=_is_exact(model, packed, texts, alone, vocabulary),
        padded=_is_exact(model, pad_sequences, texts, alone, vocabulary),
    )


def _check_causal(model: PreTrainedModel, text: list[int], read: Tensor, vocabulary: int) -> None:
    other = [*text[:-1], (text[-1] + _OTHERWISE) % vocabulary]
    found = _read(model, pad_sequences(_as_sequences([other])))[0]
    # NaN shows nothing about attention; code that uses losses reports it.
    if read.isfinite().all() and _differ(found[:-1], read[:-1], _measure_limit(model, [read])):
        raise BaseModelError(
            f"a base model must be causal, but in {type(model).__name__} a token attends to later tokens: "
            "load a causal language model, or this one with is_decoder=True in its configuration"
        )


def find_tolerance(model: PreTrainedModel) -> float:
    """Return the largest error of equal logits, in units of their standard deviation."""
    return _TOLERANCES.get(model.dtype, _HALF_TOLERANCE)


def _measure_limit(model: PreTrainedModel, logits: Sequence[Tensor]) -> float:
    return find_tolerance(model) * float(torch.cat(list(logits)).std())


def _is_exact(
    model: PreTrainedModel,
    lay_out: Callable[[Sequence[TokenizedExample]], Batch],
    texts: Sequence[Sequence[int]],
    alone: Sequence[Tensor],
    vocabulary: int,
) -> bool:
    """Return whether each text has the same logits as alone, and no text influences another."""
    limit = _measure_limit(model, alone)
    try:
        together = _read(model, lay_out(_as_sequences(texts)))
        if any(_differ(found, expected, limit) for found, expected in zip(together, alone, strict=True)):
            return False
        for kept in range(len(texts)):
            # Only the other texts are changed: if this one's logits change, it attends to them.
            changed = [
                text if index == kept else _change(text, vocabulary) for index, text in enumerate(texts)
            ]
            found = _read(model, lay_out(_as_sequences(changed)))[kept]
            if _differ(found, together[kept], limit):
                return False
    except MODEL_FAILURES:
        return False
    return True


def _change(text: Sequence[int], vocabulary: int) -> list[int]:
    start = len(_BEGINNING) if tuple(text[: len(_BEGINNING)]) == _BEGINNING else 0
    return [*text[:start], *((token + _OTHERWISE) % vocabulary for token in text[start:])]


def _differ(left: Tensor, right: Tensor, limit: float) -> bool:
    # NaN compares as False, so NaN counts as a difference.
    return not bool((left - right).abs().max() <= limit)


def _as_sequences(texts: Sequence[Sequence[int]]) -> list[TokenizedExample]:
    return [TokenizedExample(tuple(text[:1]), (*text[1:], 0)) for text in texts]


def _read(model: PreTrainedModel, batch: Batch) -> list[Tensor]:
    """Return the logits at each token of each text, ``[tokens, V]``."""
    batch = batch.to(model.device)
    with select_positions(model, batch.positions):
        logits = model(**batch.model_inputs(model.dtype)).logits[0].float()
    return list(logits.split(torch.bincount(batch.label_owner).tolist()))
