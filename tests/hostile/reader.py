"""What a reader is to the hostile-file contract, and what must hold of everything that one accepts."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch

from lorary.errors import LoraryError
from lorary.experts import Expert, check_name
from lorary.files.quoting import is_visible

# Longer messages are unreadable, and a hostile file can make them so.
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Reader:
    """One way in which lorary takes up what others made."""

    name: str
    """For reports and reproducers."""
    _: KW_ONLY
    room: str
    """Whose findings they are: a room of the package."""
    make: Callable[[Path], None]
    """Writes a small good input into an empty folder."""
    read: Callable[[Path], Any]
    """What a user would call on that folder."""
    check: Callable[[Any], None]
    """Raises ``AssertionError`` if what was accepted is not sound."""
    answer: Callable[[Any], Any] | None = None
    """What the user gets out of it, to be compared with the good input's; None compares nothing."""
    sealed: tuple[str, ...] = ()
    """Patterns of the files whose every change must be refused or leave the answer equal."""
    targets: tuple[str, ...] = ("*",)
    """Patterns of the files and folders that are made hostile."""
    plants: tuple[str, ...] = ()
    """Paths at which the reader looks for more, and at which hostile things are planted."""
    raises: tuple[type[BaseException], ...] = (LoraryError, OSError)
    """What may be raised, with a message that is safe to show."""
    cost: float = 1.0
    """How long one input takes, about, in units of the cheapest: expensive readers are tried less often."""


def check_expert(expert: Expert) -> None:
    """Assert that an expert is what its type says, and every number finite."""
    check_name(expert.name)
    check_text(expert.name, expert.base_model)
    assert expert.factors or expert.parts, "an expert that changes nothing"
    for path, parts in expert.parts.items():
        check_text(path)
        for part in parts:
            for tensor in part.tensors.values():
                assert not tensor.is_meta and tensor.isfinite().all(), "a part that is not finite"
    for path, (a, b) in expert.factors.items():
        check_text(path)
        assert a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1], f"shapes {a.shape}, {b.shape}"
        assert a.is_floating_point() and b.is_floating_point()
        assert a.isfinite().all() and b.isfinite().all(), "a factor that is not finite"
    check_card(expert.card)


def check_card(card: Any) -> None:
    """Assert that a card's values have the types it declares."""
    for texts in (card.tasks, card.tags, card.parents):
        assert isinstance(texts, tuple)
        check_text(*texts)
    check_text(card.description)
    for text in (card.base_revision, card.base_fingerprint):
        assert text is None or isinstance(text, str)
    for name, score in card.scores.items():
        check_text(name)
        assert isinstance(score, int | float) and math.isfinite(score), f"score {score!r}"
    assert isinstance(card.provenance, Mapping)


def check_text(*texts: Any) -> None:
    """Assert that values are text that can be written as UTF-8."""
    for text in texts:
        assert isinstance(text, str), f"{type(text).__name__} instead of text"
        text.encode()


def check_finite(*tensors: Any) -> None:
    """Assert that no number is NaN or infinite."""
    for tensor in tensors:
        assert isinstance(tensor, torch.Tensor) and tensor.isfinite().all(), "a number that is not finite"


def check_shown(text: str, longest: float = math.inf) -> None:
    """Assert that a text may be printed on a terminal."""
    assert len(text) <= longest, f"{len(text):,} characters long: {text[:60]!r}…"
    unsafe = [character for character in text if character not in "\n\t" and not is_visible(character)]
    assert not unsafe, f"{unsafe[0]!r} would reach the terminal"
    assert "Traceback (most recent call last)" not in text, "a traceback is shown"


class Nearly:
    """Numbers that are equal to others but for rounding: what was damaged may be computed again."""

    def __init__(self, numbers: torch.Tensor):
        self.numbers = numbers.detach().clone()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nearly) and torch.allclose(self.numbers, other.numbers, 1e-3, 1e-3)

    __hash__ = None  # type: ignore[assignment]


def digest_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash names, dtypes, shapes and numbers."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def digest_expert(expert: Expert) -> str:
    """Hash what an expert does: its factors."""
    return digest_tensors(
        {
            f"{path}.{letter}": half
            for path, pair in expert.factors.items()
            for letter, half in zip("ab", pair, strict=True)
        }
    )
