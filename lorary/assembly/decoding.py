"""Decode the tokens of answers to texts that follow their prompts.

B prompts, L their length.
"""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lorary.data.encoding import SPACE_MARK


def list_prompts(inputs: Mapping[str, Tensor]) -> list[list[int]]:
    """List the prompts of a batch without padding.

    Args:
        inputs: ``input_ids`` and ``attention_mask``, ``[B, L]``.
    """
    return [
        row[mask.bool()].tolist()
        for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]


def decode_answers(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    endings: Collection[int],
    *,
    is_encoder_decoder: bool = False,
) -> list[str]:
    """Return the text that each answer adds to its prompt, without special tokens.

    Args:
        tokenizer: the base model's.
        prompts: token ids.
        answers: token ids, one list for each prompt.
        endings: tokens that end an answer, whether they are marked special or not.
        is_encoder_decoder: whether an answer is a separate text, and does not continue its prompt.
    """
    if is_encoder_decoder:
        prompts = [()] * len(prompts)
    # Models' configurations may end answers with tokens that tokenizers treat as words.
    cut = [answer[:-1] if answer and answer[-1] in endings else answer for answer in answers]
    return [_decode(tokenizer, prompt, answer) for prompt, answer in zip(prompts, cut, strict=True)]


def _decode(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], answer: Sequence[int]) -> str:
    text = str(tokenizer.decode(answer, skip_special_tokens=True))
    skipped = set(tokenizer.all_special_ids)
    first = next((token for token in answer if token not in skipped), None)
    if first is None or not str(tokenizer.convert_ids_to_tokens(first)).startswith(SPACE_MARK):
        return text
    # Tokenizers of this kind treat the first space of a text as one that they added.
    before = str(tokenizer.decode(prompt, skip_special_tokens=True))
    whole = str(tokenizer.decode([*prompt, *answer], skip_special_tokens=True))
    return whole[len(before) :] if before and whole.startswith(before) else text
