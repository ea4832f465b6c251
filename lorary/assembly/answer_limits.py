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
    """Most tokens of it."""
    first_line: bool = False
    """Whether it ends with its first line of visible text after its thoughts."""


def spread_limits(
    max_new_tokens: int | Sequence[int], first_line: bool | Sequence[bool], num_prompts: int
) -> list[AnswerLimit]:
    """Give each prompt its limit; a single value holds for all.

    Raises:
        ValueError: if there is not a value for each prompt, or one is less than 1.
    """
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
    return [AnswerLimit(*pair) for pair in zip(most, lines, strict=True)]


class AnswersEnd(StoppingCriteria):
    """Tells ``transformers`` which answers of a batch have reached their limits, and notes how long they are.

    Args:
        limits: of each row.
        prompt_length: tokens of each row before its answer, padding included.
        tokenizer: decodes answers of which the first line counts; None where there are none.
    """

    def __init__(
        self, limits: Sequence[AnswerLimit], prompt_length: int, tokenizer: PreTrainedTokenizerBase | None
    ):
        self._limits = limits
        self._prompt_length = prompt_length
        self._tokenizer = tokenizer
        self.lengths: list[int | None] = [None] * len(limits)
        """Tokens of each row's answer; None where it may go on."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Look at the answers so far; gives ``[B]``, true where one has ended."""
        answers = input_ids[:, self._prompt_length :]
        length = answers.shape[1]
        for row, limit in enumerate(self._limits):
            if self.lengths[row] is None and (
                length >= limit.max_new_tokens or (limit.first_line and self._has_line(answers[row]))
            ):
                self.lengths[row] = length
        return torch.tensor([each is not None for each in self.lengths], device=input_ids.device)

    def _has_line(self, ids: Tensor) -> bool:
        assert self._tokenizer is not None
        return "\n" in drop_thoughts(self._tokenizer.decode(ids, skip_special_tokens=True)).lstrip()
