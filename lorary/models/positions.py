"""How many tokens a model can read."""

from torch import nn
from transformers import PreTrainedModel

from lorary.errors import BaseModelError

# Some models' position tables have a few rows more than they have positions.
_SPARE_ROWS = 8
_SIZES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")


def count_positions(model: PreTrainedModel) -> int | None:
    """Count the positions of a model that has a table of them, learned or computed; None if it takes any.

    Args:
        model: any causal language model, with experts or without.
    """
    config = model.config.get_text_config()
    sizes = {int(size) for name in _SIZES if (size := getattr(config, name, None))}
    words = model.get_input_embeddings()
    rows = [
        module.num_embeddings
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module is not words
    ]
    rows += [len(buffer) for buffer in model.buffers() if buffer.dim() == 2]
    found = [size for size in sizes if any(0 <= each - size < _SPARE_ROWS for each in rows)]
    return min(found) if found else None


def check_length(model: PreTrainedModel, length: int, what: str) -> None:
    """Refuse a text that a model cannot read, before it is run.

    Args:
        model: the model.
        length: tokens of the text.
        what: the text is, for the message.

    Raises:
        BaseModelError: if the model has fewer positions.
    """
    most = count_positions(model)
    if most is not None and length > most:
        raise BaseModelError(
            f"{what} has {length} tokens, but {type(model).__name__} has {most} positions: shorten it"
        )
