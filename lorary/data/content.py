"""What an example is, as a hash: the ground on which splits and samples stand."""

import hashlib
import unicodedata
from collections.abc import Sequence

from lorary.data.task import Example


def normalise_text(text: str) -> str:
    """Fold away what does not make an input another one: case, spacing, and Unicode's look-alike forms."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hash_input(example: Example) -> str:
    """Hash what ``example`` asks (its history and input, normalised), as 64 hexadecimal digits.

    Two examples that ask the same have the same hash, whatever their targets or definitions. Where nothing
    is asked, the text itself is hashed.
    """
    if example.is_text:
        return _digest([normalise_text(example.targets[0])])
    asked = [part for turn in example.history for part in (turn.role, turn.text, turn.fields) if part]
    return _digest([normalise_text(part) for part in (*asked, example.input)])


def hash_fraction(digest: str) -> float:
    """Read a hexadecimal hash as a number in [0, 1)."""
    # 13 digits are 52 bits: exactly a float's fraction.
    return int(digest[:13], 16) / 16**13


def subsample(examples: Sequence[Example], count: int, seed: int = 0) -> tuple[Example, ...]:
    """Choose ``count`` examples by content hash, in their given order (all, if there are no more).

    The choice depends on the examples' content and on ``seed``, never on their order; a smaller count chooses
    a subset of what a larger one does.

    Raises:
        ValueError: if ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, not {count!r}")
    ranks = [_digest([str(seed), hash_input(example), *example.targets]) for example in examples]
    chosen = sorted(range(len(examples)), key=lambda index: (ranks[index], index))[:count]
    return tuple(examples[index] for index in sorted(chosen))


def _digest(parts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        # With lengths, ["ab", "c"] and ["a", "bc"] differ.
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
