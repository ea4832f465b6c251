"""Where answers end, besides at a token that ends them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from lorary.data.turns import drop_thoughts
from lorary.files import quote, say_count


@dataclass(frozen=True)
class AnswerLimit:
    """Where one answer ends at the latest."""

    max_new_tokens: int
    """Maximum number of its tokens."""
    first_line: bool = False
    """Whether it ends with its first line of visible text after any reasoning."""
    stops: tuple[str, ...] = ()
    """Texts that end it: it ends before the first of them."""

    @property
    def needs_text(self) -> bool:
        """Whether the text of the answer determines its end."""
        return self.first_line or bool(self.stops)


def spread_limits(
    max_new_tokens: int | Sequence[int],
    first_line: bool | Sequence[bool],
    num_prompts: int,
    stops: Sequence[str] = (),
) -> list[AnswerLimit]:
    """Give each prompt its limit; a single value applies to all, and so do the texts that end answers.

    Raises:
        ValueError: if there is not a value for each prompt, one is less than 1, or a text is empty.
    """
    if isinstance(stops, str) or not all(isinstance(text, str) and text for text in stops):
        raise ValueError(f"stops must be a list of texts that are not empty, found {quote(stops)}")
    most: list[Any] = [max_new_tokens] * num_prompts
    if isinstance(max_new_tokens, Sequence):
        most = list(max_new_tokens)
    lines = [first_line] * num_prompts if isinstance(first_line, bool) else list(first_line)
    for name, values in (("max_new_tokens", most), ("first_line", lines)):
        if len(values) != num_prompts:
            raise ValueError(
                f"{name} must be one value, or one for each of {say_count(num_prompts, 'prompt')}, found "
                f"{len(values)}"
            )
    for value in most:
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"max_new_tokens must be at least 1, found {quote(value)}")
    return [AnswerLimit(*pair, tuple(stops)) for pair in zip(most, lines, strict=True)]


def cut_at_stops(text: str, stops: Sequence[str]) -> str:
    """Return the part of an answer before the first of some texts."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)]


class AnswersEnd(StoppingCriteria):
    """Tells ``transformers`` which answers of a batch have reached their limits, and records their lengths.

    Args:
        limits: of each row.
        prompt_length: tokens of each row before its answer, padding included.
        tokenizer: decodes answers whose text decides about their ends; None where there are none.
    """

    def __init__(
        self, limits: Sequence[AnswerLimit], prompt_length: int, tokenizer: PreTrainedTokenizerBase | None
    ):
        self._limits = limits
        self._prompt_length = prompt_length
        self._tokenizer = tokenizer
        self.lengths: list[int | None] = [None] * len(limits)
        """Number of tokens of each row's answer; None where it is not finished."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Check the answers so far; returns ``[B]``, true where an answer has ended."""
        answers = input_ids[:, self._prompt_length :]
        length = answers.shape[1]
        for row, limit in enumerate(self._limits):
            if self.lengths[row] is None and (
                length >= limit.max_new_tokens or (limit.needs_text and self._has_end(answers[row], limit))
            ):
                self.lengths[row] = length
        return torch.tensor([each is not None for each in self.lengths], device=input_ids.device)

    def _has_end(self, ids: Tensor, limit: AnswerLimit) -> bool:
        assert self._tokenizer is not None
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        if any(stop in text for stop in limit.stops):
            return True
        return limit.first_line and "\n" in drop_thoughts(text).lstrip()
