"""The text form of a base model's fingerprint, also for quantised copies.

A fingerprint is 24 hexadecimal digits: 16 of the weights, 8 of the settings. That of a quantised copy has
more, after dots: a hash of the weights that quantisation keeps, and the fingerprint of the model that was
quantised, if it is known.

    4be1…            a model
    7c02….91d5…      a quantised copy
    7c02….91d5….4be1…   a quantised copy of the first
"""

import re
from typing import NamedTuple, Self

# The first digits of a fingerprint are the hash of the weights; older fingerprints have only these.
WEIGHT_DIGITS = 16
SETTING_DIGITS = 8
PATTERN = re.compile(r"[0-9a-f]{16,64}(\.[0-9a-f]{16}(\.[0-9a-f]{24})?)?")
"""All texts that are fingerprints."""


class Fingerprint(NamedTuple):
    """The parts of a fingerprint."""

    own: str
    """Hash of the model's own weights and settings."""
    kept: str | None = None
    """Of a quantised copy: hash of the weights that quantisation keeps, such as embeddings and norms."""
    source: str | None = None
    """Of a quantised copy: fingerprint of the model that was quantised; None if it is not known."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a text; any text is accepted, since cards may have others."""
        own, _, rest = text.partition(".")
        kept, _, source = rest.partition(".")
        return cls(own, kept or None, source or None)

    @property
    def text(self) -> str:
        """The text form, which cards have."""
        return ".".join(part for part in self if part is not None)

    @property
    def is_quantised(self) -> bool:
        """Whether it is that of a quantised copy."""
        return self.kept is not None

    @property
    def full(self) -> str | None:
        """The fingerprint of the model in full precision; None if it is not known."""
        return self.source if self.is_quantised else self.own

    @property
    def settings(self) -> str:
        """The digits of the settings, which quantisation does not change; empty in older fingerprints."""
        return self.own[WEIGHT_DIGITS:]


def is_same_print(one: str, other: str) -> bool:
    """Return whether two hashes are equal, up to the length of the shorter one."""
    shorter = min(len(one), len(other))
    return one == other or (shorter >= WEIGHT_DIGITS and one[:shorter] == other[:shorter])
