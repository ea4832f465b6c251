"""Protocols: the stages of a published experiment, each a command; their files are beside this one.

Making a random model needs ``transformers``, which is imported when that is first used.
"""

from typing import TYPE_CHECKING

from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.cli.protocols.tiny_base import make_tiny_base

__all__ = ["make_tiny_base"]

__getattr__ = load_lazily(__name__, {"make_tiny_base": "tiny_base"})
