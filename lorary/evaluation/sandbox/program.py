"""A program that a model wrote, with its tests and its outcome."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "error", "died", "time", "memory"]


@dataclass(frozen=True, kw_only=True)
class Program:
    """Untrusted code, and the tests that it has to pass."""

    code: str
    """The whole program, as it is run."""
    tests: str
    """Python code that raises unless the program is right. It calls what the program defines by name."""
    setup: str = ""
    """Code that is run before the tests, for imports and functions that the tests use."""
    own: tuple[str, ...] = ()
    """Names that refer to the program's functions, although the setup or Python has them too."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of a program."""

    outcome: Outcome
    """passed, failed (a test), error (an exception), died (its process ended), time or memory (a limit)."""
    message: str = ""
    """The reason, in the program's or Python's words; it must be escaped when shown."""

    @property
    def is_passed(self) -> bool:
        """Whether all tests passed."""
        return self.outcome == "passed"
