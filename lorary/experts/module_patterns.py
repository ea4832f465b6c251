"""Finding the first of PEFT's patterns that matches a module path, without trying all patterns.

Patterns are regular expressions, but nearly all are a path or the end of a path. These are looked up in a
table; the others are matched, with a limited time.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from time import thread_time
from typing import TypeAlias

import regex

from lorary.experts.slow_patterns import is_slow
from lorary.files import PatternMatcher, quote
from lorary.files.patterns import PatternError

# Patterns whose only special characters are dots, which match any character. Escaped dots are replaced by \0,
# which is in no path.
PATH = re.compile(r"[\w.\0-]+", re.ASCII)
LONGEST_PATH = 1000
# Positions of the literal parts of a pattern, between the dots that match any character.
Stretches: TypeAlias = tuple[tuple[int, int], ...]
# Length of a path -> positions of literal parts -> literal parts -> index of the first such pattern.
Table: TypeAlias = dict[int, dict[Stretches, dict[tuple[str, ...], int]]]


class ModulePatterns:
    """Finds the first pattern that matches a module's path, as PEFT's ``get_pattern_key`` does.

    A pattern matches the whole path, or its end after a dot: ``q_proj`` and ``layers.0.q_proj``
    match ``model.layers.0.q_proj``. A pattern that begins with ``^`` matches only the whole path.

    Args:
        keys: the patterns, in order.
        matcher: limits the total time for all patterns.

    Raises:
        PatternError: if a pattern is not a regular expression or is a slow one, or if compiling takes too
            long.
    """

    def __init__(self, keys: Iterable[str], matcher: PatternMatcher):
        self._keys = tuple(keys)
        self._matcher = matcher
        self._others: list[tuple[int, regex.Pattern[str]]] = []
        self._whole: Table = {}
        self._ends: Table = {}
        for place, key in enumerate(self._keys):
            begun = thread_time()
            self._take(place, key)
            matcher.spend(thread_time() - begun, key)

    def find(self, module: str) -> str | None:
        """Return the first pattern that matches a module's path; None if there is none.

        Raises:
            PatternError: if matching takes too long.
        """
        if not self._keys:
            return None
        begun = thread_time()
        first = min(self._find_paths(module), default=len(self._keys))
        self._matcher.spend(thread_time() - begun, self._keys[min(first, len(self._keys) - 1)])
        for place, pattern in self._others:
            if place > first:
                break
            if self._matcher.fully_matches(pattern, module):
                return self._keys[place]
        return self._keys[first] if first < len(self._keys) else None

    def _take(self, place: int, key: str) -> None:
        text = key.removeprefix("^")
        path = text.replace(r"\.", "\0").replace(r"\-", "-")
        if len(key) <= LONGEST_PATH and PATH.fullmatch(path) and "\0" not in key:
            _note(self._whole if key.startswith("^") else self._ends, path, place)
        else:
            self._others.append((place, _compile(key)))

    def _find_paths(self, module: str) -> Iterator[int]:
        yield from _look_up(self._whole.get(len(module)), module)
        begin = 0
        while True:
            # Check the length first: a path with many dots has many ends.
            if table := self._ends.get(len(module) - begin):
                yield from _look_up(table, module[begin:])
            begin = module.find(".", begin) + 1
            if not begin:
                return


def _compile(key: str) -> "regex.Pattern[str]":
    PatternMatcher.compile(key)  # checked alone, because an unbalanced bracket could close PEFT's
    pattern = PatternMatcher.compile(rf"(.*\.)?({key})")
    if is_slow(pattern.pattern):
        raise PatternError(
            f"pattern {quote(key, 60)} has an unlimited repetition of a part that matches in several ways, "
            "so that PEFT may not finish matching: write it without"
        )
    return pattern


def _note(table: Table, path: str, place: int) -> None:
    """Add a path to a table, unless it already has a path that matches the same text."""
    parts = path.split(".")
    ends = list(accumulate(len(part) + 1 for part in parts))
    stretches = tuple((end - 1 - len(part), end - 1) for end, part in zip(ends, parts, strict=True))
    known = table.setdefault(len(path), {}).setdefault(stretches, {})
    known.setdefault(tuple(part.replace("\0", ".") for part in parts), place)


def _look_up(table: dict[Stretches, dict[tuple[str, ...], int]] | None, text: str) -> Iterator[int]:
    for stretches, known in (table or {}).items():
        place = known.get(tuple(text[begin:end] for begin, end in stretches))
        if place is not None:
            yield place
