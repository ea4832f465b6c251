"""Tokenising prompts and answers separately, such that they can be joined."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lorary.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# SentencePiece's mark for a space.
SPACE_MARK = "\u2581"


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Tokenise many texts at once, without special tokens."""
    if not texts:
        return []
    # verbose=False: no warnings about texts beyond the tokenizer's length, since limits are applied later.
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]


def encode_prompt(
    tokenizer: "PreTrainedTokenizerBase", text: str, *, is_encoder_decoder: bool = False
) -> list[int]:
    """Tokenise a prompt with the tokens that the tokenizer puts first, but without those that it puts last.

    An encoder gets both, such as T5's end token, since the answer does not continue the prompt.
    """
    frame = find_frame(tokenizer)
    ids = encode_texts(tokenizer, [text])[0]
    return [*frame.opening, *ids, *(frame.closing if is_encoder_decoder else ())]


def encode_answers(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Tokenise texts that follow other text.

    A SentencePiece tokenizer adds a space before every text. For it, a leading space is removed first, and a
    text without one is tokenised after a line break, whose tokens are then removed.
    """
    if not _adds_space(tokenizer):
        return encode_texts(tokenizer, texts)
    (line_break,) = encode_texts(tokenizer, ["\n"])
    spelt = [text.removeprefix(" ") if text.startswith(" ") else f"\n{text}" for text in texts]
    return [
        ids[len(line_break) :] if not text.startswith(" ") and ids[: len(line_break)] == line_break else ids
        for text, ids in zip(texts, encode_texts(tokenizer, spelt), strict=True)
    ]


def encode_replies(
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    prompt_ids: Sequence[Sequence[int]],
    texts: Sequence[str],
) -> list[list[int]]:
    """Tokenise texts together with their prompts, and return the texts' tokens.

    The prompt must keep the tokens that it has alone, because the model reads it alone. If prompt and text
    together have other tokens within the prompt, the text is tokenised by ``encode_answers``.

    Args:
        tokenizer: the base model's.
        prompts: the texts' prompts.
        prompt_ids: the prompts' tokens.
        texts: one text for each prompt.
    """
    together = encode_texts(tokenizer, [prompt + text for prompt, text in zip(prompts, texts, strict=True)])
    apart = encode_answers(tokenizer, texts)
    return [
        whole[len(prompt) :] if whole[: len(prompt)] == list(prompt) else alone
        for whole, prompt, alone in zip(together, prompt_ids, apart, strict=True)
    ]


class Frame(NamedTuple):
    """The ids that a tokenizer puts around a text."""

    opening: list[int]
    """Before it: ``[bos]`` for Llama, none for SmolLM2 and T5."""
    closing: list[int]
    """After it: ``[eos]`` for T5, none for Llama."""


def find_frame(tokenizer: "PreTrainedTokenizerBase", *, is_target: bool = False) -> Frame:
    """Return the ids that the tokenizer puts around a text.

    Args:
        tokenizer: the base model's.
        is_target: whether the text is a decoder's target, which tokenizers for several languages mark by
            the language of the answer.
    """
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    dressed = (tokenizer(text_target="a") if is_target else tokenizer("a"))["input_ids"]
    for start in range(len(dressed) - len(bare) + 1):
        end = start + len(bare)
        if dressed[start:end] == bare:
            return Frame(list(dressed[:start]), list(dressed[end:]))
    return Frame([], [])


def find_opening(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids that the tokenizer puts before a text, see ``Frame``."""
    return find_frame(tokenizer).opening


def find_text_opening(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids to put before an example without a question.

    They are those that the tokenizer puts before a text, or else its end-of-text token; none if it has
    neither.
    """
    ending = tokenizer.eos_token_id
    return find_opening(tokenizer) or ([] if ending is None else [int(ending)])


def find_ending(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the id of the token that ends an answer.

    Raises:
        DataError: if the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"the tokenizer of {tokenizer.name_or_path!r} must have an eos token to end answers, found none: "
            "set tokenizer.eos_token, or use answers without it (eos=False)"
        )
    return int(tokenizer.eos_token_id)


def _adds_space(tokenizer: "PreTrainedTokenizerBase") -> bool:
    (first, *_) = tokenizer("a", add_special_tokens=False)["input_ids"]
    return str(tokenizer.convert_ids_to_tokens(first)).startswith(SPACE_MARK)
