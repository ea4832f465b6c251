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
from lorary.passes.agreement import Agreement, Reading, measure_change
from lorary.passes.encoded import EncodedBatch
from lorary.passes.first_inputs import capture_first_inputs, select_cells
from lorary.passes.packing import Batch, pack_sequences, pad_sequences

# Three texts with the same prefix, one of them longer, and two with other prefixes. All tokens after
# the prefix are even, so adding 1 changes a text, but not the order of the sorted texts.
_BEGINNING = (5, 6, 7)
_TEXTS = (
    (*_BEGINNING, 8, 10, 12),
    (*_BEGINNING, 14, 16, 18, 20, 22, 24),
    (26, 28),
    (*_BEGINNING, 30),
    (32, 34, 36, 38, 40),
)
_ROW_LENGTH = 2 * max(map(len, _TEXTS))
# A longer text before others in a row shifts them, so that wrong positions make a large difference.
_SHIFT, _SHIFT_START = 32, 42
# The row has to be shorter than these sizes of a model's configuration.
_SIZES = (
    "max_position_embeddings",
    "original_max_position_embeddings",
    "n_positions",
    "attention_chunk_size",
)

LayOut = Callable[[Sequence[TokenizedExample]], Batch | EncodedBatch]
"""Arranges the texts of a trial for a forward pass."""


@dataclass(frozen=True)
class Tried:
    """The layouts that are exact on a model, for short texts."""

    masked: bool
    """Rows of several texts that share prefixes, with an attention mask."""
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
    key = (model.config._attn_implementation, model.dtype, model.device.type)
    kept = _KEPT.get(model)
    if kept is None or kept[0] != key:
        with evaluating(model):
            kept = _KEPT[model] = key, _try_layouts(model)
    return kept[1]


def _try_layouts(model: PreTrainedModel) -> Tried:
    texts = list_texts(model)
    try:
        alone = [read_texts(model, pad_sequences, [text])[0] for text in texts]
    except MODEL_FAILURES as error:
        raise BaseModelError(
            f"{type(model).__name__} does not return logits for each token of a short text: {error}"
        ) from error
    agreement = Agreement(model.dtype, alone, measure_noise(model, pad_sequences, texts[0]))
    _check_causal(model, texts[0], alone[0].logits, agreement)
    row = _ROW_LENGTH + len(texts[-1])
    masked = partial(pack_sequences, row_length=row, groups=[0] * len(texts), always_mask=True)
    packed = partial(pack_sequences, row_length=row)
    takes_masks = model.config._attn_implementation in ("eager", "sdpa")
    return Tried(
        masked=takes_masks and is_exact(model, masked, texts, alone, agreement),
        packed=is_exact(model, packed, texts, alone, agreement),
        padded=is_exact(model, pad_sequences, texts[: len(_TEXTS)], alone, agreement),
    )


def list_texts(model: PreTrainedModel) -> list[list[int]]:
    """List the texts of the trial; the last one shifts the others."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    config = model.config.get_text_config()
    sizes = [size for name in _SIZES if (size := getattr(config, name, None))]
    num_shifts = max(1, min([_SHIFT, *(size // 4 for size in sizes)]))
    shift = range(_SHIFT_START, _SHIFT_START + 2 * num_shifts, 2)
    return [[token % vocabulary for token in text] for text in (*_TEXTS, shift)]


def measure_noise(model: PreTrainedModel, lay_out: LayOut, text: list[int]) -> float:
    """Measure how much a row's logits change when another row of the batch does; 0 if it takes no batch."""
    try:
        first, second = (
            read_texts(model, lay_out, [text, other])[0].logits for other in (text, _change(text, model))
        )
    except MODEL_FAILURES:
        return 0.0
    return measure_change(first, second)


def _check_causal(model: PreTrainedModel, text: list[int], read: Tensor, agreement: Agreement) -> None:
    other = [*text[:-1], *_change(text[-1:], model)]
    found = read_texts(model, pad_sequences, [other])[0].logits
    # NaN shows nothing about attention; code that uses losses reports it.
    if read.isfinite().all() and agreement.is_influenced(found[:-1], read[:-1]):
        raise BaseModelError(
            f"a base model must be causal, but in {type(model).__name__} a token attends to later tokens: "
            "load a causal language model, or this one with is_decoder=True in its configuration"
        )


def is_exact(
    model: PreTrainedModel,
    lay_out: LayOut,
    texts: Sequence[Sequence[int]],
    alone: Sequence[Reading],
    agreement: Agreement,
) -> bool:
    """Return whether each text has the same logits as alone, and no text influences another."""
    try:
        together = read_texts(model, lay_out, texts)
        # Not the last text: it may be longer than a window of attention, which a given mask replaces.
        for kept in range(len(_TEXTS)):
            if agreement.differs(together[kept], alone[kept]):
                return False
            changed = [text if index == kept else _change(text, model) for index, text in enumerate(texts)]
            found = read_texts(model, lay_out, changed)[kept]
            if agreement.is_influenced(found.logits, together[kept].logits):
                return False
    except MODEL_FAILURES:
        return False
    return True


def _change(text: Sequence[int], model: PreTrainedModel) -> list[int]:
    """Change a text's tokens after the prefix."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    start = len(_BEGINNING) if tuple(text[: len(_BEGINNING)]) == _BEGINNING else 0
    return [*text[:start], *((token + 1) % vocabulary for token in text[start:])]


def _as_sequences(texts: Sequence[Sequence[int]]) -> list[TokenizedExample]:
    return [TokenizedExample(tuple(text[:1]), (*text[1:], 0)) for text in texts]


def read_texts(model: PreTrainedModel, lay_out: LayOut, texts: Sequence[Sequence[int]]) -> list[Reading]:
    """Read each text of a batch with this layout."""
    batch = lay_out(_as_sequences(texts)).to(model.device)
    with select_positions(model, batch.positions), capture_first_inputs(model) as inputs:
        logits = model(**batch.inputs_for(model)).logits[0].float()
    counts = torch.bincount(batch.label_owner).tolist()
    # The first layer of an encoder reads other cells than those of the targets.
    is_first = isinstance(batch, Batch)
    start = select_cells(inputs, batch.positions, batch.input_ids.numel()) if is_first else None
    starts = [None] * len(counts) if start is None else start.split(counts)
    return [Reading(*both) for both in zip(logits.split(counts), starts, strict=True)]
