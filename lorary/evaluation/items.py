"""One tokenised text of an evaluation."""

from dataclasses import dataclass

from lorary.data import TokenizedExample

Prompt = tuple[int, ...]
"""Token ids."""


@dataclass(frozen=True)
class Item:
    """One tokenised text to be scored or continued, and its task."""

    task: str
    """The task's name."""
    tokens: TokenizedExample
    """Prompt and answer."""
    max_new_tokens: int = 0
    """Maximum tokens of a generated answer."""
    first_line: bool = False
    """Whether only the answer's first line is used."""
    stops: tuple[str, ...] = ()
    """Texts that end a generated answer."""
    drawn: "Draw | None" = None
    """How a generated answer is sampled; None: the most probable tokens."""
    decided_by: Prompt | None = None
    """The prompt from which a request router chooses; None: that of ``tokens``. Thus several
    texts of one question have the same experts."""

    @property
    def request(self) -> Prompt:
        """The prompt from which a request router chooses."""
        return self.tokens.prompt_ids if self.decided_by is None else self.decided_by

    @property
    def num_units(self) -> int:
        """Its work: the tokens of a scored text, or the maximum of generated tokens."""
        return self.max_new_tokens or len(self.tokens)


@dataclass(frozen=True)
class Draw:
    """One sample among several answers to a prompt."""

    number: int
    """Its place among the answers to the prompt."""
    temperature: float
    """See ``Sampling``."""
    top_p: float = 1.0
    """See ``Sampling``."""
