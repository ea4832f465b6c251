"""Tokenised prompts: texts, conversations or token ids; and the tokens that end an answer.

B prompts, L their length.
"""

from collections.abc import Mapping, Sequence, Sized
from typing import Any, TypeGuard

import torch
from torch import Tensor

from lorary.data.encoding import encode_prompt, encode_texts
from lorary.data.endings import list_endings
from lorary.errors import BaseModelError
from lorary.files import escape, quote
from lorary.models import BaseModel
from lorary.models.base_folder import is_panic

Messages = Sequence[Mapping[str, Any]]
"""A conversation: its turns, ``{"role": "user", "content": "…"}``."""
Prompt = str | Messages | Sequence[int]
"""A text, a conversation, or token ids."""


def is_conversation(prompt: object) -> TypeGuard[Messages]:
    """Return whether a prompt is a list of messages."""
    return isinstance(prompt, list | tuple) and bool(prompt) and isinstance(prompt[0], Mapping)


def refuse_other_prompts(prompts: object) -> None:
    """Refuse what is no sequence of prompts, such as a tokeniser's result, whose keys would be prompts.

    Raises:
        TypeError: for a mapping, and for what has no length.
    """
    if isinstance(prompts, Mapping):
        hint = (
            "give the messages of a conversation as a list, [{…}]"
            if "role" in prompts
            else "give a tokenizer's result as generate(**inputs)"
        )
        found = f"a mapping with {quote(list(prompts), 60)}"
    elif not isinstance(prompts, Sized):
        hint, found = "put them into a list", f"{type(prompts).__name__!r}"
    else:
        return
    raise TypeError(f"prompts must be a text, or a list of prompts, found {found}: {hint}")


def encode_prompts(base: BaseModel, prompts: Sequence[Prompt], device: torch.device) -> dict[str, Tensor]:
    """Tokenise prompts into one batch, padded on the left because generation continues on the right.

    An encoder's prompts are padded on the right, because it may count positions from the row's start.

    Returns:
        ``input_ids`` and ``attention_mask``, ``[B, L]``.

    Raises:
        ValueError: if there is no prompt, one is empty, or a token id is not one of the model's.
        BaseModelError: if the tokenizer fails, there is a text and no tokenizer, or a conversation and no
            chat template.
    """
    for prompt in prompts:
        if isinstance(prompt, int):
            raise ValueError(
                f"each prompt must be a text, a list of messages or a list of token ids, found {prompt!r}: "
                "put the token ids of one prompt into a nested list, [[…]]"
            )
    ids: list[Any] = [
        _tokenize(base, prompt) if isinstance(prompt, str) or is_conversation(prompt) else list(prompt)
        for prompt in prompts
    ]
    if not ids or not all(ids):
        raise ValueError("a prompt must have at least one token, and there must be at least one prompt")
    longest = max(map(len, ids))
    padding = find_padding_id(base)
    is_right = base.is_encoder_decoder
    input_ids = torch.tensor([_pad(row, longest, padding, is_right) for row in ids])
    size = base.model.get_input_embeddings().weight.shape[0]
    wrong = input_ids[(input_ids < 0) | (input_ids >= size)].tolist()
    if input_ids.dtype != torch.int64 or wrong:
        raise ValueError(
            f"token ids must be whole numbers from 0 to {size - 1}, found {quote(wrong or ids, 60)}: "
            "tokenise the prompt with the base model's tokenizer"
        )
    mask = torch.tensor([_pad([1] * len(row), longest, 0, is_right) for row in ids])
    return {"input_ids": input_ids.to(device), "attention_mask": mask.to(device)}


def _pad(row: list[int], length: int, padding: int, is_right: bool) -> list[int]:
    rest = [padding] * (length - len(row))
    return row + rest if is_right else rest + row


def _tokenize(base: BaseModel, prompt: str | Messages) -> list[int]:
    try:
        if not isinstance(prompt, str):
            return _tokenize_conversation(base, prompt)
        return encode_prompt(base.tokenizer, prompt, is_encoder_decoder=base.is_encoder_decoder)
    except BaseException as error:
        if not is_panic(error):
            raise
        raise BaseModelError(f"the base model's tokenizer failed on {quote(prompt, 60)}: {error}") from error


def _tokenize_conversation(base: BaseModel, messages: Messages) -> list[int]:
    if not base.tokenizer.chat_template:
        raise BaseModelError(
            f"the tokenizer of {quote(base.name)} has no chat template for messages: give the prompt as text"
        )
    try:
        text = base.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
        )
    # A template is a program, which may raise any error on input that it does not expect.
    except Exception as error:
        raise ValueError(
            f"the chat template of {quote(base.name)} refuses the messages "
            f"({escape(str(error), keep='', longest=200)}): change them, or give the prompt as text"
        ) from error
    return encode_texts(base.tokenizer, [str(text)])[0]


def find_padding_id(base: BaseModel) -> int:
    """Choose a token id for padding; padding is masked, so any id works."""
    tokenizer = base.known_tokenizer
    named = () if tokenizer is None else (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((int(found) for found in named if found is not None), 0)


def find_ending_ids(base: BaseModel) -> list[int]:
    """List the tokens that end an answer: those of the model's configuration, and those of training.

    Experts learn to end with the token that the chat template writes after an answer, or with the tokenizer's
    end of text.
    """
    configured = base.model.generation_config.eos_token_id
    found = [configured] if isinstance(configured, int) else list(configured or [])
    taught = [] if base.known_tokenizer is None else list_endings(base.known_tokenizer)
    return sorted({*found, *taught})
