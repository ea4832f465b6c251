"""Routing as plain data, ready to draw: samples token by token, and shares by task or layer."""

from collections.abc import Mapping
from dataclasses import dataclass

# task or layer -> expert -> share
Usage = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RoutedToken:
    """A token and the share of the routing that each expert had in it, averaged over layers."""

    text: str
    """The token's own text, blanks and all."""
    experts: tuple[tuple[str, float], ...] = ()
    """(expert, share), in any order; nothing where the base model ran alone."""


@dataclass(frozen=True)
class RoutedSample:
    """A prompt and the answer generated to it."""

    task: str
    """The task it is from."""
    prompt: tuple[RoutedToken, ...]
    """The tokens read."""
    answer: tuple[RoutedToken, ...]
    """The tokens written."""
