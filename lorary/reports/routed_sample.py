"""Routing as plain data for drawing: samples token by token, and shares by task or layer."""

from collections.abc import Mapping
from dataclasses import dataclass

# task or layer -> expert -> share
Usage = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RoutedToken:
    """A token, with each expert's share of its routing, averaged over layers."""

    text: str
    """The token's text, including blanks."""
    experts: tuple[tuple[str, float], ...] = ()
    """(expert, share), in any order; empty if the base model ran alone."""


@dataclass(frozen=True)
class RoutedSample:
    """A prompt and the generated answer."""

    task: str
    """The prompt's task."""
    prompt: tuple[RoutedToken, ...]
    """The prompt's tokens."""
    answer: tuple[RoutedToken, ...]
    """The answer's tokens."""
    right: str = ""
    """The right answer; empty if it is unknown."""
    is_right: bool | None = None
    """Whether the answer equals it; None where equality says little, as for long texts."""
