"""A saved model that others change."""

import pytest
import torch

from lorary.assembly import save_model
from lorary.models import load_base


@pytest.fixture
def base(build_tiny_base, tmp_path):
    """A tiny base model that can be loaded again by its name."""
    folder = tmp_path / "bases" / "tiny"
    built = build_tiny_base()
    built.model.save_pretrained(folder)
    built.tokenizer.save_pretrained(folder)
    return load_base(str(folder), dtype=torch.float32)


@pytest.fixture
def place(model, tmp_path):
    """A saved model with its base, and all that is known of the experts."""
    rows = {
        path: torch.ones(len(model.names), layer.a.shape[2]) for path, layer in model.stack.layers.items()
    }
    model.provide(means=rows, embeddings={name: torch.ones(2, 3) for name in model.names})
    save_model(model, tmp_path / "mine", with_base=True)
    model.detach()
    return tmp_path / "mine"
