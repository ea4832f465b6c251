"""``Example`` and ``Task``, the data types that all other rooms use."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

from lorary.data.turns import ROLES, Turn
from lorary.errors import DataError
from lorary.files import quote

SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One question with its right answers."""

    input: str
    """The user's last turn; ``''`` if the answer follows another turn of ``history``, or if there is no
    question."""
    targets: tuple[str, ...]
    """The right answers, at least one; training uses the first. ``''`` is an empty answer."""
    choices: tuple[str, ...] | None = None
    """The answers of a multiple-choice question, including ``targets[0]``; None for other questions."""
    definition: str | None = None
    """The definition, if it differs from the task's (as in a mixture of tasks)."""
    history: tuple[Turn, ...] = ()
    """Earlier turns of a conversation, before ``input``; a turn may be given as ``(role, text)``."""
    cue: str | None = None
    """Text between input and answer, instead of the template's; ``''`` if the answer continues the input."""
    plain: str | None = None
    """The input in plain templates, if the row's format has its own standard prompt."""
    answer: Turn | None = None
    """The answer for chat templates, if it is more than text; ``targets[0]`` is its plain form."""
    tools: str = ""
    """The tools that the assistant may call, as a JSON list in the form for chat templates; ``''`` for
    none."""

    def __post_init__(self) -> None:
        texts = (self.input, self.definition or "", self.cue or "")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"input, definition and cue must be text, found {quote(texts, 100)}")
        if self.input and not self.input.strip():
            raise ValueError("an example's input must have text, or be '', found white space only")
        if not isinstance(self.targets, tuple) or not self.targets:
            raise ValueError(
                f"an example must have a tuple of at least one target, not {quote(self.targets, 100)}"
            )
        if not all(isinstance(target, str) and (target.strip() or not target) for target in self.targets):
            raise ValueError(f"every target must have text, or be '', found {quote(self.targets, 100)}")
        self._check_choices()
        self._check_history()
        if self.answer is not None and self.answer.plain != self.targets[0]:
            raise ValueError("the first target must be the answer's plain form")

    @property
    def is_text(self) -> bool:
        """Whether there is no question: the target is a text that is learnt from its first word on."""
        return not self.input and not self.history

    def _check_history(self) -> None:
        # A long conversation gives an example for each turn, so work for each turn of each example adds up.
        if not isinstance(self.history, tuple) or set(map(type, self.history)) - {Turn}:
            object.__setattr__(self, "history", tuple(Turn(*turn) for turn in self.history))
        for role in set(map(itemgetter(0), self.history)):
            if role not in ROLES:
                raise ValueError(f"a turn's role must be one of {ROLES}, not {quote(role, 60)}")

    def _check_choices(self) -> None:
        if self.choices is None:
            return
        is_tuple = isinstance(self.choices, tuple) and len(self.choices) > 1
        if not is_tuple or not all(isinstance(choice, str) and choice.strip() for choice in self.choices):
            raise ValueError(f"choices must be a tuple of two or more texts, not {quote(self.choices, 100)}")
        if self.targets[0] not in self.choices:
            raise ValueError(
                f"the target must be one of the choices {quote(self.choices, 100)}, "
                f"not {quote(self.targets[0], 100)}"
            )


@dataclass(frozen=True)
class Task:
    """A named set of examples in splits, with counts of what readers left out."""

    name: str
    """The task's name in tables, and the default name of its expert."""
    splits: Mapping[str, tuple[Example, ...]]
    """Examples by split: 'train', 'validation', 'test'; a split may be missing or empty."""
    definition: str = ""
    """The task's definition; ``''`` if it has none."""
    num_skipped: int = 0
    """Number of rows that could not be used and were left out (only with ``skip_bad``)."""
    num_duplicates: int = 0
    """Number of rows dropped because an identical one came before."""
    num_overlapping: int = 0
    """Number of examples dropped because a later split has the same input."""
    num_rejected: int = 0
    """Number of answers that the data marks as bad; no example has them."""
    formats: tuple[str, ...] = ()
    """Formats that the rows were read by, the most frequent first."""
    unused: tuple[str, ...] = ()
    """Columns of the rows that are used neither in a prompt nor in a target."""
    categories: tuple[str, ...] = ()
    """The task's categories, such as those of Super-NaturalInstructions; tables have a mean for each."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a task must have a name, found ''")
        unknown = sorted(set(self.splits) - set(SPLIT_NAMES))
        if unknown:
            raise ValueError(
                f"task {quote(self.name)}: splits must be among {SPLIT_NAMES}, not {quote(unknown)}"
            )
        splits = {name: tuple(self.splits[name]) for name in SPLIT_NAMES if self.splits.get(name)}
        if not splits:
            raise ValueError(f"task {quote(self.name)} must have at least one example in some split")
        # A copy, so that a later change of the caller's mapping does not change the task.
        object.__setattr__(self, "splits", splits)

    @property
    def num_examples(self) -> int:
        """Number of examples of all splits together."""
        return sum(len(examples) for examples in self.splits.values())

    def split(self, name: str) -> tuple[Example, ...]:
        """Return the examples of one split.

        Raises:
            DataError: if the split has no example.
        """
        if name not in self.splits:
            found = ", ".join(f"{split} ({len(examples)})" for split, examples in self.splits.items())
            raise DataError(
                f"task {quote(self.name)} has no {quote(name, 60)} examples, only {found}: choose another "
                "split, or read the task with other split fractions or files"
            )
        return self.splits[name]

    def definition_of(self, example: Example) -> str:
        """Return the definition of an example: its own, otherwise the task's."""
        return self.definition if example.definition is None else example.definition
