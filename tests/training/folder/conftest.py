"""A run's folder, and a folder of somebody else's."""

import pytest

from tests.training.folder.made_runs import IDENTITY, open_run


@pytest.fixture
def folder(tmp_path):
    return open_run(tmp_path / "run", IDENTITY)


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with a file of somebody else's."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    return place
