"""The arguments of one call of ``generate``: checked, tokenised, and ready to run.

B prompts, L their length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from lorary.assembly.answer_limits import AnswerLimit, cut_at_stops, spread_limits
from lorary.assembly.decoding import decode_answers, list_prompts
from lorary.assembly.prompts import Prompt, encode_prompts, find_ending_ids
from lorary.models import BaseModel
from lorary.models.generation import Sampling, check_one_answer, describe_generation
from lorary.models.positions import check_length, count_needed


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerateCall:
    """Prompts to continue, as the model reads them."""

    inputs: Mapping[str, Tensor]
    """``input_ids`` and ``attention_mask``, ``[B, L]``, padded on the left; on the right for an encoder."""
    limits: Sequence[AnswerLimit]
    """The limit of each answer."""
    generation: Mapping[str, Any]
    """Arguments of ``model.generate``, see ``describe_generation``."""
    is_one: bool
    """Whether there is one prompt, given as a string."""
    answers_ids: bool
    """Whether answers are given as token ids: all prompts are, and there is no tokenizer."""


def prepare_call(
    base: BaseModel,
    prompts: str | Sequence[Prompt],
    max_new_tokens: int | Sequence[int],
    first_line: bool | Sequence[bool],
    stops: Sequence[str],
    sampling: Sampling,
    config: GenerationConfig | None,
) -> GenerateCall:
    """Check the arguments of ``RoutedModel.generate``, and tokenise the prompts.

    Raises:
        ValueError: if a prompt is empty, or a number is out of range.
        BaseModelError: if a prompt is a text and there is no tokenizer, or the base model has too few
            positions for a prompt and its answer.
    """
    batch = [prompts] if isinstance(prompts, str) else prompts
    check_one_answer(config)
    generation = describe_generation(base.model, sampling, config)
    given = getattr(config, "max_new_tokens", None)
    limits = spread_limits(max_new_tokens if given is None else given, first_line, len(batch), stops)
    inputs = encode_prompts(base, batch, base.model.device)
    lengths = inputs["attention_mask"].sum(1).tolist()
    longest = max(
        count_needed(base.model, length, limit.max_new_tokens)
        for length, limit in zip(lengths, limits, strict=True)
    )
    check_length(base.model, longest, "the longest prompt with its answer")
    has_text = any(isinstance(prompt, str) for prompt in batch)
    return GenerateCall(
        inputs=inputs,
        limits=limits,
        generation=generation,
        is_one=isinstance(prompts, str),
        answers_ids=base.given_tokenizer is None and not has_text,
    )


def write_answers(base: BaseModel, call: GenerateCall, answers: list[list[int]]) -> str | list[Any]:
    """Give the text of each answer; a string for one prompt, token ids if the call answers with these.

    Args:
        base: the base model.
        call: the call that was answered.
        answers: token ids, one list for each prompt.
    """
    if call.answers_ids:
        return answers
    texts = decode_answers(
        base.tokenizer,
        list_prompts(call.inputs),
        answers,
        find_ending_ids(base),
        is_encoder_decoder=base.is_encoder_decoder,
    )
    texts = [cut_at_stops(text, limit.stops) for text, limit in zip(texts, call.limits, strict=True)]
    return texts[0] if call.is_one else texts
