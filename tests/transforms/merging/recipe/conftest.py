"""Experts that recipes merge, and recipes read from a file."""

import pytest

from lorary.transforms.merging import read_recipe
from tests.transforms.merging.recipe.people import draw


@pytest.fixture
def library():
    return {name: draw(name) for name in "abc"}


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "recipe.yml").write_text(text)
        return read_recipe(tmp_path / "recipe.yml")

    return read
