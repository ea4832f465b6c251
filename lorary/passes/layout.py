"""The layouts of a forward pass, and which of them is exact on a model."""

from enum import StrEnum

from transformers import PreTrainedModel

from lorary.models import ExpertStack
from lorary.models.architecture import is_encoder_decoder
from lorary.models.quantized.packed_layers import mixes_tokens
from lorary.passes.encoded_trial import can_pad_encoded
from lorary.passes.trial import try_model


class Layout(StrEnum):
    """The arrangement of sequences in a forward pass, cheapest first; the first exact one is used."""

    SHARED = "shared"
    """Several sequences per row, shared prefixes stored once; a mask only where a prefix is shared."""
    MASKED = "masked"
    """As ``SHARED``, with a mask in every pass: the model does not detect beginnings by ``position_ids``."""
    PACKED = "packed"
    """Several sequences per row, nothing shared; ``position_ids`` restart at each beginning."""
    PADDED = "padded"
    """One sequence per row, padded on the right."""
    ALONE = "alone"
    """One sequence per pass."""
    ENCODED = "encoded"
    """Prompts in rows of an encoder, targets in rows of a decoder, padded on the right."""
    ENCODED_ALONE = "encoded alone"
    """One prompt with its target per pass."""

    @property
    def shares(self) -> bool:
        """Whether sequences of one request share the cells of shared prefixes."""
        return self in (Layout.SHARED, Layout.MASKED)

    @property
    def is_encoded(self) -> bool:
        """Whether an encoder reads the prompts."""
        return self in (Layout.ENCODED, Layout.ENCODED_ALONE)


def find_layout(stack: ExpertStack, longest: int, row_length: int) -> Layout:
    """Find the cheapest layout in which every sequence has the same result as alone.

    The base model runs a few short texts in each layout and alone. The result of this trial is remembered for
    the model, which is not changed.

    Args:
        stack: the experts on the model; they are switched off during the trial.
        longest: number of tokens of the longest sequence.
        row_length: length of the rows that sequences are packed into.

    Raises:
        BaseModelError: if the model has no encoder, and a token attends to later tokens.
    """
    if mixes_tokens(stack.model):
        return Layout.ENCODED_ALONE if is_encoder_decoder(stack.model) else Layout.ALONE
    limits = _Limits(stack.model, longest, max(row_length, longest))
    if is_encoder_decoder(stack.model):
        with stack.choosing(None):
            is_exact = can_pad_encoded(stack.model)
        return Layout.ENCODED if is_exact and limits.takes_batches else Layout.ENCODED_ALONE
    with stack.choosing(None):
        tried = try_model(stack.model)
    if stack.soft_prompts.prompts:
        # Virtual tokens are put before the tokens of a row.
        return Layout.PADDED if tried.padded and limits.takes_batches else Layout.ALONE
    if tried.masked and limits.takes_masks:
        return Layout.SHARED if tried.packed and limits.takes_rows else Layout.MASKED
    if tried.packed and limits.takes_rows:
        return Layout.PACKED
    return Layout.PADDED if tried.padded and limits.takes_batches else Layout.ALONE


class _Limits:
    """Layouts that are not exact for long texts, read from the configuration because trials are short."""

    def __init__(self, model: PreTrainedModel, longest: int, row: int):
        config = model.config.get_text_config()
        chunk = getattr(config, "attention_chunk_size", None)
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_window_size")]
        # Some RoPE variants compute frequencies from the longest text of the batch.
        self.takes_batches = not _changes_with_length(config, longest)
        # Keys compressed in blocks of a row mix the texts of the row; a block may be longer than the trial.
        compresses = any(getattr(config, name, None) for name in ("compress_rates", "indexer_compress_ratio"))
        # GPT-Neo's window is counted in cells of the row, where a shared prefix may be far from its text.
        own_window = getattr(config, "window_size", None)
        # A mask that is passed to other models replaces their own, which has their windows and chunks.
        self.takes_masks = (
            self.takes_batches
            and not compresses
            and not any(size is not None and size < longest for size in (*windows, chunk))
            and (not isinstance(own_window, int) or own_window >= row)
        )
        # Chunks are counted from the beginning of the row, not from that of a text.
        self.takes_rows = self.takes_batches and not compresses and (chunk is None or row <= chunk)


def _changes_with_length(config: object, longest: int) -> bool:
    """Return whether a text of this length changes the positional encoding of the whole batch."""
    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [scaling, *(each for each in scaling.values() if isinstance(each, dict))]
    most = getattr(config, "max_position_embeddings", None)
    for kind in kinds:
        if kind.get("rope_type", kind.get("type")) in ("dynamic", "longrope"):
            limit = kind.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", most
            )
            if limit is not None and longest > limit:
                return True
    return False
