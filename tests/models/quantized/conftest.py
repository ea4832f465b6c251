"""Folders of tiny models, and base models that are quantised while they are loaded."""

import warnings

import pytest
import torch

from lorary.models import load_base

KINDS = {"4bit": "bitsandbytes", "8bit": "bitsandbytes", "torchao-8bit": "torchao"}


@pytest.fixture(scope="session")
def find_folder(tmp_path_factory, build_base, tokenizer):
    """Return the folder of a family's tiny model, which is written once."""
    folders = {}

    def find(family="llama"):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp("bases") / family
            build_base(family).save_pretrained(folders[family])
            tokenizer.save_pretrained(folders[family])
        return str(folders[family])

    return find


@pytest.fixture(scope="session")
def load_quantized(find_folder):
    """Load a family's tiny model, quantised in one of three ways; the test is skipped without the package."""

    def load(kind, family="llama"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages, at their first import
            pytest.importorskip(KINDS[kind])
        return load_base(find_folder(family), quantization=kind, device="cpu", dtype=torch.float32)

    return load


@pytest.fixture(params=[("4bit", "llama"), ("8bit", "llama"), ("torchao-8bit", "qwen2"), ("4bit", "gpt2")])
def quantized(request, load_quantized):
    """A quantised base model of each kind; Qwen2's layers have biases, GPT-2's are Conv1D."""
    return load_quantized(*request.param)
