"""The errors that lorary raises for files, models and data; wrong arguments raise Python's own errors.

LoraryError
├── LibraryError            a library is missing, empty, unreadable, busy or full
│   └── UnknownExpert       no expert of that name (also a KeyError)
├── FormatError             a file is not what it claims to be
│   └── UnsupportedAdapter  a valid PEFT adapter with a feature that lorary cannot represent exactly
├── IncompatibleExpert      an expert and a base model, or two experts, do not fit
├── BaseModelError          a base model cannot be found or loaded
├── DataError               a task file or an example cannot be used
└── TrainingError           a run cannot start, resume or continue
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


class LoraryError(Exception):
    """The base class: catch it to catch all of lorary's errors for files, models and data."""


class LibraryError(LoraryError):
    """A library is missing, empty, unreadable, busy or full."""


class UnknownExpert(LibraryError, KeyError):
    """There is no expert of this name; also a ``KeyError``, so that a library is a proper ``Mapping``."""

    def __init__(self, name: str, known: Iterable[str], where: str, why: str | None = None):
        super().__init__(f"{where} has no expert {name!r}: {why or suggest(name, known)}")

    def __str__(self) -> str:
        # KeyError would print the repr of the message.
        return str(self.args[0])


class FormatError(LoraryError):
    """A file is not what it claims to be."""


class UnsupportedAdapter(FormatError):
    """A valid PEFT adapter with a feature that lorary cannot represent exactly."""


class IncompatibleExpert(LoraryError):
    """An expert and a base model, or two experts, do not fit."""


class BaseModelError(LoraryError):
    """A base model cannot be found or loaded."""


class DataError(LoraryError):
    """A task file or an example cannot be used."""


class TrainingError(LoraryError):
    """A run cannot start, resume or continue."""


# Similarity of names in an error message, from 0 to 1 as in ``difflib``: minimum, and distance to the
# nearest.
LEAST_NEARNESS, NEARNESS_BEHIND = 0.6, 0.3


def suggest(name: str, known: Iterable[str]) -> str:
    """Name the known names that are similar to ``name``, for the end of an error message."""
    names = sorted(known)
    near = find_near(name, names)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    if not names:
        return "there is none yet"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"known are {shown}"


def find_near(name: str, known: Iterable[str]) -> list[str]:
    """Find up to three of the most similar known names, the most similar first; none if none is similar."""
    near = get_close_matches(name, sorted(known), n=3, cutoff=LEAST_NEARNESS)
    if not near:
        return []
    # Beside a name that a typing error explains, a much less similar one only distracts.
    best = SequenceMatcher(None, near[0], name).ratio()
    return get_close_matches(name, near, n=3, cutoff=max(LEAST_NEARNESS, best - NEARNESS_BEHIND))
