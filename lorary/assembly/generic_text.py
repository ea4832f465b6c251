"""Text of no task in particular: what the base model writes when asked nothing, or the user's own."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from lorary.assembly.cache import find_place, load_artifact, save_artifact
from lorary.models import BaseModel, ExpertStack

NUM_TEXTS = 64
# Tokens of a text, its opening token among them.
LENGTH = 128
# A longer text of the user's is read in pieces.
MAX_PIECE = 512
SEED = 0
ALGORITHM = "generic-text-1"


class GenericText:
    """The text that experts are calibrated on.

    Args:
        base: the base model.
        stack: the experts on it; they take no part.
        texts: the user's own; None for what the base model writes.

    Raises:
        ValueError: if a text has fewer than two tokens.
    """

    def __init__(self, base: BaseModel, stack: ExpertStack, texts: Sequence[str] | None = None):
        self._base = base
        self._stack = stack
        self._own = None if texts is None else [_tokenize(base, text) for text in texts]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this text from another; for text that the base model writes, how it does."""
        if self._own is None:
            return {"written": [ALGORITHM, NUM_TEXTS, LENGTH, SEED], "base": self._base.fingerprint}
        return {"given": sha256(str(self._own).encode()).hexdigest(), "base": self._base.fingerprint}

    def sequences(self) -> list[list[int]]:
        """Give its token ids, at least two per sequence. The base model's is written once and then cached."""
        if self._own is None:
            return _find_written(self._base, self._stack).tolist()
        return [ids[start : start + MAX_PIECE] for ids in self._own for start in _cut(len(ids))]


def write_texts(
    base: BaseModel,
    stack: ExpertStack,
    *,
    num_texts: int = NUM_TEXTS,
    length: int = LENGTH,
    seed: int = SEED,
) -> Tensor:
    """Let the base model write texts: each token drawn by its probability, after the opening token.

    An end of text does not stop it, so that all texts are equally long. The state of chance outside is left
    as it was.

    Args:
        base: the base model.
        stack: the experts on it; they take no part.
        num_texts: how many texts.
        length: tokens of each, the opening token among them; fewer if the model reads no more.
        seed: of the draws.

    Returns:
        Token ids ``[num_texts, length]``, on the CPU.
    """
    device = base.model.device
    longest = getattr(base.model.config.get_text_config(), "max_position_embeddings", None) or length
    opening = torch.full((num_texts, 1), _find_opening_id(base), device=device)
    forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with forked, stack.assign([None]), torch.no_grad():
        torch.manual_seed(seed)
        written = base.model.generate(
            input_ids=opening,
            attention_mask=torch.ones_like(opening),
            max_new_tokens=min(length, longest) - 1,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=None,
            pad_token_id=0,
        )
    return written.cpu()


def _find_written(base: BaseModel, stack: ExpertStack) -> Tensor:
    parameters = {"num_texts": NUM_TEXTS, "length": LENGTH, "seed": SEED}
    place = find_place(base.fingerprint, ALGORITHM, parameters)
    known = load_artifact(place)
    if known is not None:
        return known["input_ids"]
    written = write_texts(base, stack)
    save_artifact(place, {"input_ids": written})
    return written


def _find_opening_id(base: BaseModel) -> int:
    for found in (base.tokenizer.bos_token_id, base.tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return 0


def _tokenize(base: BaseModel, text: str) -> list[int]:
    ids = list(base.tokenizer(text)["input_ids"])
    if len(ids) < 2:
        raise ValueError(
            f"a generic text must have at least two tokens, since its first is left out, found {text!r}"
        )
    return ids


def _cut(length: int) -> range:
    """List where pieces begin; a last token on its own is left out."""
    return range(0, length - 1, MAX_PIECE)
