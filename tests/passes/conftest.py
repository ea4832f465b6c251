"""Base models and experts of each family."""

from tests.models.conftest import build_base, llama, make_expert

__all__ = ["build_base", "llama", "make_expert"]
