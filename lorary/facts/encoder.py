"""Encoders of texts, which may embed prompts in place of the base model.

P prompts, D width of an embedding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Encoder = Callable[[Sequence[str]], Any]
"""Texts -> their embeddings ``[P, D]``: a tensor or an array."""


def embed_with(
    encoder: Encoder, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]]
) -> Tensor:
    """Embed prompts with an encoder of texts.

    Returns:
        Embeddings ``[P, D]``, float32, on the CPU.

    Raises:
        ValueError: if the encoder gives anything but a vector per text.
    """
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in prompts]
    vectors = torch.as_tensor(encoder(texts)).detach().float().cpu()
    if vectors.dim() != 2 or len(vectors) != len(texts):
        raise ValueError(
            f"the encoder must give one vector per text, [{len(texts)}, D], found {list(vectors.shape)}"
        )
    return vectors
