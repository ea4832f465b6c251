"""Hashes of examples' content, by which splits and samples are chosen."""

import hashlib
import unicodedata
from collections.abc import Sequence

from lorary.data.task import Example


def normalise_text(text: str) -> str:
    """Normalise case, white space and equivalent Unicode forms, in which equal inputs may differ."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hash_input(example: Example) -> str:
    """Hash an example's history and input, normalised, as 64 hexadecimal digits.

    Examples with the same history and input have the same hash, independently of targets and definitions. If
    both are empty, the example's text is hashed.
    """
    if example.is_text:
        return _digest([normalise_text(example.targets[0])])
    asked = [part for turn in example.history for part in (turn.role, turn.text, turn.fields) if part]
    return _digest([normalise_text(part) for part in (*asked, example.input)])


def hash_fraction(digest: str) -> float:
    """Read a hexadecimal hash as a number in [0, 1)."""
    # 13 digits are 52 bits, the number of bits in a float's fraction.
    return int(digest[:13], 16) / 16**13


def subsample(examples: Sequence[Example], count: int, seed: int = 0) -> tuple[Example, ...]:
    """Choose ``count`` examples by content hash, in their given order; all, if there are fewer.

    The choice depends on the examples' content and on ``seed``, not on their order. A smaller count chooses a
    subset of the choice for a larger one.

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
        # The lengths are hashed too, so that ["ab", "c"] and ["a", "bc"] differ.
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
