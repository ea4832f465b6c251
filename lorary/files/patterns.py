"""Untrusted regular expressions, matched within a time limit."""

import re
import time

import regex

from lorary.files.limits import LIMITS
from lorary.files.quoting import escape, quote

# Longer ones are not written by hand, and compiling takes memory that grows with the length.
MAX_LENGTH = 2000
# A counted repeat is compiled as often as its count says, and nested counts multiply.
MAX_REPEATS = 10_000
_COUNTED = re.compile(r"\{(\d*),?(\d*)\}")
# Python warns that the meaning of these within brackets may change.
_UNSETTLED = re.compile(r"\[\[|--|&&|~~|\|\||\[:")
# Elsewhere a brace is plain text for one engine, and requests fuzzy matching from the other.
_BRACE = re.compile(r"(?<!\\)(?:\\\\)*\{(?!(\d+(,\d*)?|,\d+)\})")


class PatternError(ValueError):
    """A pattern is not a regular expression, is too large, or takes too long to match."""


class PatternMatcher:
    """Matches patterns within one time limit for all of them together.

    Python's ``re`` cannot be stopped, and would need years for a pattern such as ``(a|a)*b``.
    """

    def __init__(self) -> None:
        self._seconds = LIMITS["pattern_seconds"].value

    @staticmethod
    def compile(text: str) -> "regex.Pattern[str]":
        """Compile a regular expression with the meaning that Python's ``re`` gives it.

        Raises:
            PatternError: if it is not one, or too large to be safe.
        """
        if len(text) > MAX_LENGTH:
            raise PatternError(f"pattern {quote(text, 60)} is longer than {MAX_LENGTH} characters")
        if _UNSETTLED.search(text):
            raise PatternError(
                f"pattern {quote(text, 60)} has a set operation, whose meaning may change in Python"
            )
        if _BRACE.search(text):
            raise PatternError(f"pattern {quote(text, 60)} has a brace that is not a count: escape it")
        repeats = 1
        for least, most in _COUNTED.findall(text):
            repeats *= max(1, *(int(number[:9]) for number in (least, most) if number))
        if repeats > MAX_REPEATS:
            raise PatternError(f"pattern {quote(text, 60)} repeats too often")
        try:
            re.compile(text)  # syntax that only the other engine understands is refused
            return regex.compile(text, regex.VERSION0)
        except (re.error, regex.error, RecursionError, OverflowError) as error:
            raise PatternError(
                f"pattern {quote(text, 60)} is not a regular expression ({escape(str(error), longest=100)})"
            ) from error

    def fully_matches(self, pattern: "regex.Pattern[str]", text: str) -> bool:
        """Return whether a pattern matches the whole of a text.

        Raises:
            PatternError: if the time is up.
        """
        begun = time.perf_counter()
        try:
            found = pattern.fullmatch(text, timeout=self._seconds) is not None
        except TimeoutError:
            found = False
        self.spend(time.perf_counter() - begun, pattern.pattern)
        return found

    def spend(self, seconds: float, pattern: str) -> None:
        """Count time that was spent on patterns outside this object.

        Args:
            seconds: the time.
            pattern: the pattern that it was spent on, for the message.

        Raises:
            PatternError: if the time is up.
        """
        self._seconds -= seconds
        if self._seconds <= 0:
            raise PatternError(
                f"pattern {quote(pattern, 60)} takes too long to match: {LIMITS['pattern_seconds'].advice}"
            )
