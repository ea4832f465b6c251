"""Whether sequences with equal beginnings may share them in one forward pass of a model.

L row length.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

# Two sequences that begin alike and part ways, side by side: 5 6 7 | 8 9 and 5 6 7 | 10 11.
_TOKENS = (5, 6, 7, 8, 9, 10, 11)
_POSITIONS = (0, 1, 2, 3, 4, 3, 4)
_PARTED = (slice(5, 7), slice(3, 5))
# A model that heeds the mask is off by rounding alone; one that does not, by all of what the mask hides.
_TOLERANCE = 0.1


@torch.no_grad()
def can_share_prefixes(model: PreTrainedModel, longest: int) -> bool:
    """Tell whether a model heeds a mask that says, for each token, which others it sees.

    Found by asking: a model with another attention, or one that keeps a state from left to right, fails the
    trial and is given whole sequences.

    Args:
        model: any causal language model.
        longest: tokens of the longest sequence; windows shorter than that are lost with such a mask.
    """
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if any(window is not None and window < longest for window in windows):
        return False
    if config._attn_implementation not in ("eager", "sdpa"):
        return False
    try:
        return _heeds_mask(model)
    except (ArithmeticError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        # A model that takes no such mask says so in a way of its own.
        return False


def _heeds_mask(model: PreTrainedModel) -> bool:
    causal = torch.ones(len(_TOKENS), len(_TOKENS), dtype=torch.bool).tril()
    parted = causal.clone()
    parted[_PARTED] = False
    alone = _last_logits(model, (*_TOKENS[:3], *_TOKENS[5:]), (0, 1, 2, 3, 4), causal[:5, :5])
    error = (_last_logits(model, _TOKENS, _POSITIONS, parted) - alone).abs().max()
    effect = (_last_logits(model, _TOKENS, _POSITIONS, causal) - alone).abs().max()
    return bool(error <= _TOLERANCE * effect)


def _last_logits(
    model: PreTrainedModel, tokens: tuple[int, ...], positions: tuple[int, ...], sees: Tensor
) -> Tensor:
    dtype, device = model.dtype, model.device
    mask = torch.zeros(1, 1, *sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([tokens], device=device) % model.config.get_text_config().vocab_size,
        "position_ids": torch.tensor([positions], device=device),
        "attention_mask": mask.to(device),
        "use_cache": False,
    }
    return model(**inputs).logits[0, -1].float()
