import pytest
import torch

from tests.cli.commands.train.quick import QUICK


@pytest.fixture
def train_quickly(lorary, tmp_path, tiny_base):
    """Trains into ``tmp_path/lib``, two small steps per expert."""
    return lambda *words: lorary("train", str(tmp_path / "lib"), "--base", tiny_base, *QUICK, *words)


@pytest.fixture
def same_weights():
    """Tells whether two experts have the same weights."""

    def compare(one, other):
        return all(torch.equal(one.factors[path].b, pair.b) for path, pair in other.factors.items())

    return compare
