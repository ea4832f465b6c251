"""From text to token ids where a prompt and an answer are tokenised apart and then joined."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorary.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# SentencePiece's mark for a space.
SPACE_MARK = "\u2581"


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Tokenise many texts at once, without special tokens."""
    if not texts:
        return []
    # verbose=False: no warning of texts beyond the model's length, since our limits are our own.
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Tokenise a text to go on from: with the tokenizer's own opening, without an end that it may add."""
    return [*find_opening(tokenizer), *encode_texts(tokenizer, [text])[0]]


def encode_answers(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Tokenise texts that follow other text.

    A SentencePiece tokenizer puts a space before whatever it is given: there a leading space is left to it,
    and a text without one is tokenised after a line break, which is then cut off.
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
    """Tokenise texts as they are tokenised together with their prompts.

    A prompt has its tokens before there is an answer. Where prompt and text together are tokenised otherwise
    within the prompt, the text is tokenised by ``encode_answers``.

    Args:
        tokenizer: the base model's.
        prompts: what the texts follow.
        prompt_ids: the prompts' tokens.
        texts: one for each prompt.
    """
    together = encode_texts(tokenizer, [prompt + text for prompt, text in zip(prompts, texts, strict=True)])
    apart = encode_answers(tokenizer, texts)
    return [
        whole[len(prompt) :] if whole[: len(prompt)] == list(prompt) else alone
        for whole, prompt, alone in zip(together, prompt_ids, apart, strict=True)
    ]


def find_opening(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids the tokenizer itself opens a text with: ``[bos]`` for Llama, nothing for SmolLM2."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    dressed = tokenizer("a")["input_ids"]
    for start in range(len(dressed) - len(bare) + 1):
        if dressed[start : start + len(bare)] == bare:
            return list(dressed[:start])
    return []


def find_text_opening(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids that stand before a text that answers nothing.

    They are the tokenizer's own opening or, without one, its end-of-text token; nothing if it has neither.
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
            f"the tokenizer of {tokenizer.name_or_path!r} must have an eos token to end answers, it has "
            "none: set tokenizer.eos_token, or ask for answers without it (eos=False)"
        )
    return int(tokenizer.eos_token_id)


def _adds_space(tokenizer: "PreTrainedTokenizerBase") -> bool:
    (first, *_) = tokenizer("a", add_special_tokens=False)["input_ids"]
    return str(tokenizer.convert_ids_to_tokens(first)).startswith(SPACE_MARK)
