"""Every error lorary raises about the world; bad arguments are ``ValueError`` or ``TypeError``.

LoraryError
├── LibraryError            a library is missing, empty, unreadable, busy or full
│   └── UnknownExpert       no expert of that name (also a KeyError)
├── FormatError             a file is not what it claims to be
│   └── UnsupportedAdapter  a sound PEFT adapter with a feature lorary cannot hold exactly
├── IncompatibleExpert      an expert and a base model, or two experts, do not fit
├── BaseModelError          a base model cannot be found or loaded
├── DataError               a task file or an example cannot be used
└── TrainingError           a run cannot start, resume or go on
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


class LoraryError(Exception):
    """The root: catch this to catch all that lorary raises about the world."""


class LibraryError(LoraryError):
    """A library is missing, empty, unreadable, busy or full."""


class UnknownExpert(LibraryError, KeyError):
    """No expert of that name; a ``KeyError`` too, so that a library is a proper ``Mapping``."""

    def __init__(self, name: str, known: Iterable[str], where: str, why: str | None = None):
        super().__init__(f"{where} has no expert {name!r}: {why or suggest(name, known)}")

    def __str__(self) -> str:
        # KeyError would print the repr of the message.
        return str(self.args[0])


class FormatError(LoraryError):
    """A file is not what it claims to be."""


class UnsupportedAdapter(FormatError):
    """A sound PEFT adapter with a feature lorary cannot hold exactly."""


class IncompatibleExpert(LoraryError):
    """An expert and a base model, or two experts, do not fit."""


class BaseModelError(LoraryError):
    """A base model cannot be found or loaded."""


class DataError(LoraryError):
    """A task file or an example cannot be used."""


class TrainingError(LoraryError):
    """A run cannot start, resume or go on."""


# Of names in an error message, as ``difflib`` measures it from 0 to 1: of any, and behind the nearest.
LEAST_NEARNESS, NEARNESS_BEHIND = 0.6, 0.3


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known names come near ``name``, for the end of an error message."""
    names = sorted(known)
    near = find_near(name, names)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    if not names:
        return "there is none yet"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"known are {shown}"


def find_near(name: str, known: Iterable[str]) -> list[str]:
    """Find the at most three known names that come nearest, the nearest first; none if all are far."""
    near = get_close_matches(name, sorted(known), n=3, cutoff=LEAST_NEARNESS)
    if not near:
        return []
    # Beside a name that a slip of the hand explains, one that is far further away only distracts.
    best = SequenceMatcher(None, near[0], name).ratio()
    return get_close_matches(name, near, n=3, cutoff=max(LEAST_NEARNESS, best - NEARNESS_BEHIND))
