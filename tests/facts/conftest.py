"""The same experts on the same model as where models are assembled, and a library of them."""

import pytest

from lorary.library import Library
from tests.assembly.conftest import base, cache, experts, input_ids, model, ready, sequences

__all__ = ["base", "cache", "experts", "input_ids", "model", "ready", "sequences"]


@pytest.fixture
def library(tmp_path, experts):
    """A library that holds all experts."""
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    return library
