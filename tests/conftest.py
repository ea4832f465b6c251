"""What every test shares: no network, two threads, and the embedded model for the slow ones."""

import os

import pytest

# Before any import of transformers or datasets, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "agg"

import torch


def pytest_configure():
    torch.set_num_threads(2)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def embedded_model():
    """The embedded base model, loaded once; tests that use it are marked ``slow`` and leave it as it was."""
    from lorary.models import load_base

    return load_base("smollm2-135m")
