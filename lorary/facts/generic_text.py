"""Generic requests: pieces of text that the base model generated, or a user's own texts."""

import random
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from lorary.data import Example, Task
from lorary.data.chat_template import ChatTemplate
from lorary.data.encoding import encode_prompt, encode_texts
from lorary.errors import DataError
from lorary.experts.base_fingerprint import Fingerprint
from lorary.facts.cache import Cache
from lorary.facts.fact import OnWork
from lorary.facts.shipped_texts import read_shipped_texts
from lorary.facts.soundness import Artifact
from lorary.files import quote
from lorary.library.key import Key
from lorary.models import BaseModel, ExpertStack

NUM_TEXTS = 32
# Number of tokens of a text, including its opening token.
LENGTH = 128
# Number of requests cut from each text: one for each of the three endings in _end_request.
PIECES = 3
# Smallest number of tokens of a request.
SHORTEST = 8
# The cue that precedes the answer in plain prompts.
CUE = "\nAnswer:"
SEED = 0
# Versions of how texts are written and how they are cut; parts of the keys of stored artifacts.
ALGORITHM = "generic-text-1"
CUTTING = "generic-requests-1"
# The default settings for writing texts, in the form of shipped files.
SETTINGS = f"{ALGORITHM} num_texts={NUM_TEXTS} length={LENGTH} seed={SEED}"


class GenericRequests:
    """The requests that experts are calibrated on.

    Args:
        base: the base model.
        stack: the experts on it; they are switched off during these passes.
        texts: the user's own requests, exactly as the model receives them; None for text that the base
            model generates.

    Raises:
        ValueError: if a text has fewer than two tokens, or there is none and the base model has an encoder.
    """

    def __init__(self, base: BaseModel, stack: ExpertStack, texts: Sequence[str] | None = None):
        if texts is None and base.is_encoder_decoder:
            raise ValueError(
                "a base model with an encoder and a decoder writes no generic text: pass about a hundred "
                "usual prompts as generic=[…], or use another router, such as 'arrow'"
            )
        self._base = base
        self._stack = stack
        self._own = None if texts is None else [_tokenize(base, text) for text in texts]

    @property
    def identity(self) -> dict[str, Any]:
        """Identifies the texts in keys of artifacts: a hash, or the settings of generated text."""
        if self._own is None:
            written = [ALGORITHM, NUM_TEXTS, LENGTH, SEED, CUTTING, PIECES]
            return {"written": written, "base": self._base.fingerprint}
        return {"given": sha256(str(self._own).encode()).hexdigest(), "base": self._base.fingerprint}

    @property
    def num_given_tokens(self) -> int | None:
        """The number of tokens of the user's requests; None if the base model generates them."""
        return None if self._own is None else sum(map(len, self._own))

    def sequences(self, on_work: OnWork | None = None) -> list[list[int]]:
        """Return the requests' token ids, at least two each.

        Some base models' generated text comes with the package; otherwise it is generated once and cached.

        Args:
            on_work: called before text is generated.
        """
        if self._own is None:
            return cut_requests(self._base, _load_written(self._base, self._stack, on_work).tolist())
        return self._own


def cut_requests(base: BaseModel, texts: Sequence[Sequence[int]], seed: int = SEED) -> list[list[int]]:
    """Cut pieces of random length from texts, and give them the endings that requests have.

    In turn a piece is left as it is, is followed by the cue of plain prompts, or becomes a user's turn in the
    model's chat template (or has the cue if there is no template). So the ending of a request does not count
    as a sign of any task.

    Args:
        base: the base model.
        texts: token ids, with an opening token each.
        seed: of the pieces' places and lengths.

    Returns:
        Token ids of ``PIECES`` requests per text, as the tokenizer encodes them.
    """
    chance = random.Random(seed)
    requests = []
    for ids in texts:
        for ending in range(PIECES):
            length = chance.randint(min(SHORTEST, len(ids) - 1), len(ids) - 1)
            start = chance.randint(1, len(ids) - length)
            piece = base.tokenizer.decode(ids[start : start + length], skip_special_tokens=True).strip()
            requests.append(_end_request(base, piece or "?", ending))
    return requests


def _end_request(base: BaseModel, text: str, ending: int) -> list[int]:
    tokenizer = base.tokenizer
    if ending == 2:
        example = Example(text, ("",))
        # There may be no chat template, or one that refuses a single question.
        with suppress(DataError):
            spelt = ChatTemplate().render(Task("generic", {"test": (example,)}), example, tokenizer)
            return encode_texts(tokenizer, [spelt])[0]
    ids = encode_prompt(tokenizer, text + CUE if ending else text)
    # At least two tokens, since statistics leave out the first.
    return ids if len(ids) > 1 else [*ids, *ids]


def write_texts(
    base: BaseModel,
    stack: ExpertStack,
    *,
    num_texts: int = NUM_TEXTS,
    length: int = LENGTH,
    seed: int = SEED,
) -> Tensor:
    """Let the base model generate texts after an opening token, sampled at temperature 1.

    Generation continues after an end-of-text token, so that all texts have the same length. PyTorch's global
    random state is restored afterwards.

    Args:
        base: the base model.
        stack: the experts on it; they are switched off during generation.
        num_texts: number of texts.
        length: number of tokens of each, including the opening token; fewer if the model's context is
            shorter.
        seed: of the sampling.

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


def _load_written(base: BaseModel, stack: ExpertStack, on_work: OnWork | None) -> Tensor:
    # A quantised copy may be calibrated with the text of the model that was quantised.
    shipped = read_shipped_texts(Fingerprint.parse(base.fingerprint).full or base.fingerprint, SETTINGS)
    if shipped is not None:
        return shipped
    parameters = {"num_texts": NUM_TEXTS, "length": LENGTH, "seed": SEED}
    key = Key(ALGORITHM, parameters, (base.fingerprint,))
    known = Cache().load(key)
    if known is not None and _is_text(known, base.model.get_input_embeddings().weight.shape[0]):
        return known["input_ids"]
    if on_work is not None:
        on_work("generating text with the base model to calibrate experts on, once for this base model", 0, 0)
    written = write_texts(base, stack)
    Cache().save(key, {"input_ids": written})
    return written


def _is_text(artifact: Artifact, num_tokens: int) -> bool:
    ids = artifact.get("input_ids")
    return (
        ids is not None
        and (ids.dtype, ids.dim()) == (torch.int64, 2)
        and 1 <= len(ids) <= NUM_TEXTS
        and 2 <= ids.shape[1] <= LENGTH
        and bool(((ids >= 0) & (ids < num_tokens)).all())
    )


def _find_opening_id(base: BaseModel) -> int:
    for found in (base.tokenizer.bos_token_id, base.tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return 0


def _tokenize(base: BaseModel, text: str) -> list[int]:
    ids = encode_prompt(base.tokenizer, text, is_encoder_decoder=base.is_encoder_decoder)
    if len(ids) < 2:
        raise ValueError(
            "a generic request must have at least two tokens (the first is left out of the statistics), "
            f"found {quote(text)}: use longer texts"
        )
    return ids
