"""The arguments of one call of ``generate``: checked, tokenised, and ready to run.

B prompts, L their length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from lorary.assembly.answer_limits import AnswerLimit, cut_at_stops, spread_limits
from lorary.assembly.decoding import decode_answers, list_prompts
from lorary.assembly.prompts import Prompt, encode_prompts, find_ending_ids, is_conversation
from lorary.files import say_count
from lorary.models import BaseModel
from lorary.models.generation import Sampling, count_answers, describe_generation, refuse_beams
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
    num_answers: int
    """Number of answers to each prompt, which are adjacent rows."""
    streamer: BaseStreamer | None
    """Gets the tokens of the only answer as they are generated; None for no streamer."""
    is_one: bool
    """Whether there is one answer, to a prompt that was given without a list."""
    answers_ids: bool
    """Whether answers are given as token ids: all prompts are, and there is no tokenizer."""


def prepare_call(
    base: BaseModel,
    prompts: Prompt | Sequence[Prompt],
    max_new_tokens: int | Sequence[int],
    first_line: bool | Sequence[bool],
    stops: str | Sequence[str],
    sampling: Sampling,
    config: GenerationConfig | None,
    num_return_sequences: int = 1,
    streamer: BaseStreamer | None = None,
) -> GenerateCall:
    """Check the arguments of ``RoutedModel.generate``, and tokenise the prompts.

    Raises:
        ValueError: if a prompt is empty, a number is out of range, or there are several answers and a
            streamer.
        BaseModelError: if a prompt is a text and there is no tokenizer, or the base model has too few
            positions for a prompt and its answer.
    """
    is_single = isinstance(prompts, str) or is_conversation(prompts)
    batch: Any = [prompts] if is_single else prompts
    refuse_beams(config)
    generation = describe_generation(base.model, sampling, config)
    number = count_answers(num_return_sequences, generation, getattr(config, "num_return_sequences", None))
    given = getattr(config, "max_new_tokens", None)
    stops = [stops] if isinstance(stops, str) else stops
    each = spread_limits(max_new_tokens if given is None else given, first_line, len(batch), stops)
    limits = repeat_each(each, number)
    batch = repeat_each(batch, number)
    if streamer is not None and len(batch) > 1:
        raise ValueError(
            f"a streamer shows one answer, found {say_count(len(batch), 'answer')}: give one prompt, "
            "or leave out the streamer"
        )
    inputs = encode_prompts(base, batch, base.model.device)
    lengths = inputs["attention_mask"].sum(1).tolist()
    longest = max(
        count_needed(base.model, length, limit.max_new_tokens)
        for length, limit in zip(lengths, limits, strict=True)
    )
    check_length(base.model, longest, "the longest prompt with its answer")
    has_text = any(isinstance(prompt, str) or is_conversation(prompt) for prompt in batch)
    return GenerateCall(
        inputs=inputs,
        limits=limits,
        generation=generation,
        num_answers=number,
        streamer=streamer,
        is_one=is_single and number == 1,
        answers_ids=base.given_tokenizer is None and not has_text,
    )


def repeat_each(values: Any, number: int) -> Any:
    """Repeat each value of a list, so that equal values are adjacent; a single value for all is unchanged."""
    if number == 1 or not isinstance(values, list | tuple):
        return values
    return [value for value in values for _ in range(number)]


def write_answers(base: BaseModel, call: GenerateCall, answers: list[list[int]]) -> str | list[Any]:
    """Return the text of each answer: a string for one prompt, or token ids if the call returns these.

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
