"""The number of tokens that a model can read."""

from torch import nn
from transformers import PreTrainedModel

from lorary.errors import BaseModelError
from lorary.files import say_count
from lorary.models.architecture import is_encoder_decoder

# Tables of positions may have a few more rows than the model has positions (OPT's has 2).
_SPARE_ROWS = 8
_SIZES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")


def count_positions(model: PreTrainedModel) -> int | None:
    """Return the size of a model's table of positions, learned or computed; None if it has no such table.

    Args:
        model: any language model, with experts or without. An encoder and a decoder have tables of one size.
    """
    config = model.config.get_text_config()
    sizes = {int(size) for name in _SIZES if (size := getattr(config, name, None))}
    words = model.get_input_embeddings().weight
    # A size in the configuration counts only if the model has a table of that length; else it is advice.
    rows = [
        module.num_embeddings
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.weight is not words
    ]
    rows += [len(buffer) for buffer in model.buffers() if buffer.dim() == 2]
    found = [size for size in sizes if any(0 <= each - size < _SPARE_ROWS for each in rows)]
    return min(found) if found else None


def count_needed(model: PreTrainedModel, num_prompt: int, num_answer: int) -> int:
    """Count the positions that a prompt and its answer need.

    Args:
        model: the model. An encoder and a decoder count their positions separately.
        num_prompt: number of tokens of the prompt.
        num_answer: number of tokens of the answer; the last one is not an input of the model.
    """
    if is_encoder_decoder(model):
        return max(num_prompt, num_answer)
    return num_prompt + num_answer - 1


def check_length(model: PreTrainedModel, length: int, what: str) -> None:
    """Check that a model has positions for a text, before it is run.

    Args:
        model: the model.
        length: number of tokens of the text.
        what: name of the text, for the message.

    Raises:
        BaseModelError: if the model has fewer positions.
    """
    most = count_positions(model)
    if most is not None and length > most:
        raise BaseModelError(
            f"{what} has {say_count(length, 'token')}, but {type(model).__name__} has "
            f"{say_count(most, 'position')}: shorten it"
        )
