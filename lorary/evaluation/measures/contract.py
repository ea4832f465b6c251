"""The contract of a measure: it makes requests to the model about an example, and grades the responses."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lorary.data import Example
from lorary.files import escape, quote

# Names are used in file names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One kind of number that a measure gives."""

    name: str
    """Its name in options and files."""
    title: str
    """Its description in a few words, as the heading of tables."""
    description: str
    """Its description in one line, as help text."""
    lower_is_better: bool = False
    """Whether smaller numbers are better."""

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
    """A request for the likelihood of each of some answers, after the example's prompt.

    If necessary, the prompt is cut so that the longest answer fits.
    """

    answers: tuple[str, ...]
    """The answers."""
    ends: bool = False
    """Whether an answer includes its ending token, as in training."""


@dataclass(frozen=True)
class Generate:
    """A request for the model's answer to the example's prompt, by greedy decoding."""

    max_new_tokens: int | None = None
    """Maximum tokens of the answer; None: about twice the task's longest target, and at most
    ``EvalConfig.max_new_tokens``."""
    whole: bool = False
    """Whether the response is the whole answer. Otherwise it is the first line, if all targets of the task
    have one line."""


class Likelihood(NamedTuple):
    """The likelihood of an answer."""

    log_likelihood: float
    """Sum over its tokens, in nats."""
    num_tokens: int
    """Number of its tokens."""


Request = Score | Generate
Response = tuple[Likelihood, ...] | str
"""For ``Score``, the likelihood of each answer; for ``Generate``, the text."""


class Measure(Protocol):
    """Something that can be measured on an example; it gives one or several numbers.

    To add one, write a file, a line in ``MEASURES`` and a row in its contract test.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that it gives."""
        ...

    def requests(self, example: Example) -> Sequence[Request]:
        """Return the requests about an example; none if the measure does not apply to it.

        The requests of all measures are gathered, and equal ones run once.
        """
        ...

    def grade(self, example: Example, responses: Sequence[Response]) -> Mapping[str, float]:
        """Turn responses into numbers.

        Args:
            example: the example.
            responses: the response to each request, in order.

        Returns:
            Metric's name -> number, for each of ``metrics``.
        """
        ...
