"""Encoders of texts, which can be used instead of the base model to embed prompts.

P prompts, D width of an embedding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Encoder = Callable[[Sequence[str]], Any]
"""Function from P texts to their embeddings ``[P, D]``, as a tensor or an array."""


def embed_with(
    encoder: Encoder, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]]
) -> Tensor:
    """Embed prompts with an encoder of texts.

    Args:
        encoder: the encoder.
        tokenizer: the base model's, which turns token ids back into text.
        prompts: token ids.

    Returns:
        Embeddings ``[P, D]``, float32, on the CPU.

    Raises:
        ValueError: if the encoder does not return one vector per text.
    """
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in prompts]
    vectors = torch.as_tensor(encoder(texts)).detach().float().cpu()
    if vectors.dim() != 2 or len(vectors) != len(texts):
        raise ValueError(
            f"the encoder must return one vector per text, [{len(texts)}, D], found {list(vectors.shape)}"
        )
    return vectors
