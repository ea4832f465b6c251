"""Untrusted values in messages and on terminals: short and printable."""

import re
import reprlib
import unicodedata
from typing import Any

LONGEST = 200
# Characters that a terminal or a page interprets instead of showing them: controls, direction marks and other
# invisible characters, lone surrogates, private and unassigned code points, line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Joins emoji and letters of some scripts; harmless alone.
_JOINERS = frozenset({"\u200c", "\u200d"})
# Most text is ASCII, which needs no look-up.
_DOUBTFUL = re.compile(r"[^\x20-\x7e]")


def quote(value: Any, longest: int = LONGEST) -> str:
    """Write any value for a message, as ``repr`` does, of at most ``longest`` characters.

    Args:
        value: the value; no more of it is read than is shown.
        longest: in characters, at least 20.

    Returns:
        One line of printable characters.
    """
    return escape(_make_repr(longest).repr(value), keep="", longest=longest)


def escape(text: str, keep: str = "\n\t", *, longest: int | None = None) -> str:
    r"""Replace characters that a terminal would interpret by escapes such as ``\x1b`` and ``\u202e``.

    Args:
        text: any text, lone surrogates included.
        keep: control characters that are kept.
        longest: maximum number of characters; the middle of a longer text is left out. None for no limit.

    Returns:
        Text that can be printed and encoded as UTF-8; the same text if there is nothing to replace.
    """
    shown = _DOUBTFUL.sub(
        lambda found: found[0] if found[0] in keep or is_visible(found[0]) else _name(found[0]), text
    )
    if longest is None or len(shown) <= longest:
        return shown
    end = longest // 4
    return f"{shown[: longest - end - 1]}…{shown[len(shown) - end :]}"


def is_visible(character: str) -> bool:
    """Return whether a terminal shows a character, instead of interpreting or hiding it."""
    return character in _JOINERS or unicodedata.category(character) not in _UNSEEN


def _name(character: str) -> str:
    return character.encode("unicode_escape").decode()


class _Repr(reprlib.Repr):
    """The standard library's bounded ``repr``, which also stops at huge integers."""

    def repr_int(self, x: int, level: int) -> str:
        return f"<integer of {x.bit_length():,} bits>" if x.bit_length() > 256 else repr(x)

    def repr_bytes(self, x: bytes, level: int) -> str:
        shown = repr(x[: self.maxstring])
        return shown if len(x) <= self.maxstring else f"{shown}…"


def _make_repr(longest: int) -> _Repr:
    made = _Repr()
    made.maxlevel = 4
    made.maxstring = made.maxother = longest
    made.maxdict = made.maxlist = made.maxtuple = made.maxset = made.maxfrozenset = 12
    return made
