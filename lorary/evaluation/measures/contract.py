"""What a measure is: it asks the model about an example, and grades what the model responds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lorary.data import Example
from lorary.files import escape, quote

# Names are parts of file names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One column of numbers."""

    name: str
    """What it is called in options and files."""
    title: str
    """What the number is, in a few words: the heading of tables."""
    description: str
    """What the number is, in one line: the help text."""
    lower_is_better: bool = False
    """Whether a smaller number is the better one."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                "a metric's name must be letters, digits and, behind the first, _.@+-, at most 64, found "
                f"{quote(self.name)}"
            )
        for text in (self.title, self.description):
            if not text.strip() or len(text) > LONGEST or escape(text, keep="") != text:
                raise ValueError(
                    f"metric {self.name!r} must have a title and a description of one visible line each, at "
                    f"most {LONGEST} characters, found {quote(text)}"
                )


@dataclass(frozen=True)
class Score:
    """A request: how likely is each of some answers, after the example's prompt?

    The prompt is cut, where it must be, so that the longest of them fits behind it.
    """

    answers: tuple[str, ...]
    """The texts in question."""
    ends: bool = False
    """Whether the end of the text belongs to an answer, as it does in training."""


@dataclass(frozen=True)
class Generate:
    """A request: what does the model answer to the example's prompt, taking the likeliest token each time?"""

    max_new_tokens: int | None = None
    """Most tokens of the answer; None takes about twice the task's longest target, and no more than
    ``EvalConfig.max_new_tokens``."""
    whole: bool = False
    """Whether the answer is given as it is; else its first line, if all targets of the task are one line."""


class Likelihood(NamedTuple):
    """How likely an answer is."""

    log_likelihood: float
    """The sum over its tokens, in nats."""
    num_tokens: int
    """How many tokens those are."""


Request = Score | Generate
Response = tuple[Likelihood, ...] | str
"""To ``Score``, the likelihood of each answer; to ``Generate``, the text."""


class Measure(Protocol):
    """Something that can be measured on an example; it gives one number or several.

    To add one: its own file, a line in ``MEASURES``, a row in its contract test.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The numbers that it gives."""
        ...

    def requests(self, example: Example) -> Sequence[Request]:
        """Say what the model is to be asked; nothing where the example does not suit the measure.

        Requests of all measures are gathered, and equal ones are answered once.
        """
        ...

    def grade(self, example: Example, responses: Sequence[Response]) -> Mapping[str, float]:
        """Turn responses into numbers.

        Args:
            example: the example.
            responses: one for each request, in their order.

        Returns:
            The name of each of ``metrics`` -> its number.
        """
        ...
