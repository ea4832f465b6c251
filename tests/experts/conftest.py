"""Tiny base models of each family, PEFT adapters on them, and the dense reference."""

import copy
import json
import warnings

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from lorary.experts import Expert, ExpertCard, Factors


@pytest.fixture(autouse=True)
def empty_memory():
    """Empty fsspec's memory, which all tests of a process share."""
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="session")
def build_base(tiny_config):
    """Build a seeded base model of a family, in float32."""

    def build(family="llama"):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(tiny_config(family, initializer_range=0.02)).eval()

    return build


@pytest.fixture
def peft():
    """PEFT, whose own warnings about its dependencies are not ours to fix."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out is set to.*")
        import peft

        yield peft


@pytest.fixture
def make_adapter(peft):
    """Wrap a copy of a base model in a PEFT LoRA with random A and B."""

    def make(base, *, dtype=torch.float32, **settings):
        torch.manual_seed(1)
        config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **settings})
        model = peft.get_peft_model(copy.deepcopy(base), config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".lora_A." in name or ".lora_B." in name:
                    # Rounded to the dtype the adapter is saved in, so that both sides hold the same numbers.
                    parameter.copy_((torch.randn_like(parameter) * 0.2).to(dtype))
        return model

    return make


@pytest.fixture
def save_adapter():
    """Save what PEFT holds as an adapter folder, its weights in a dtype."""

    def save(model, folder, dtype=torch.float32):
        model.save_pretrained(folder)
        path = folder / "adapter_model.safetensors"
        tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        return folder

    return save


@pytest.fixture
def adapter(tmp_path, build_base, make_adapter, save_adapter):
    """A small PEFT adapter on disk, to be damaged."""
    model = make_adapter(build_base(), target_modules=["q_proj"])
    return save_adapter(model, tmp_path / "poetry")


@pytest.fixture
def edit_config(adapter):
    def edit(**changes):
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


@pytest.fixture
def edit_tensors(adapter):
    def edit(change):
        path = adapter / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return edit


@pytest.fixture(scope="session")
def compute_logits():
    """The logits of a model on the same few tokens."""
    input_ids = torch.randint(3, 96, (2, 9), generator=torch.Generator().manual_seed(2))

    def compute(model):
        with torch.no_grad():
            return model(input_ids=input_ids).logits

    return compute


@pytest.fixture(scope="session")
def fold_dense():
    """The dense reference: a copy of the base with W + b @ a."""

    def fold(base, expert):
        folded = copy.deepcopy(base)
        with torch.no_grad():
            for path, (a, b) in expert.factors.items():
                layer = folded.get_submodule(path)
                change = (b.double() @ a.double()).to(layer.weight.dtype)
                layer.weight += change.T if isinstance(layer, Conv1D) else change
        return folded

    return fold


@pytest.fixture
def make_expert():
    """A seeded random expert; by default small, of two modules, one of them oblong."""

    def make(name="poetry", base_model="org/base", *, shapes=None, dtype=torch.float32, **card):
        generator = torch.Generator().manual_seed(3)
        shapes = shapes or {"model.layers.0.q_proj": (2, 6, 6), "model.layers.1.up_proj": (2, 6, 10)}
        factors = {
            path: Factors(
                torch.randn(rank, wide, generator=generator).to(dtype),
                torch.randn(tall, rank, generator=generator).to(dtype),
            )
            for path, (rank, wide, tall) in shapes.items()
        }
        return Expert(name, base_model, factors, ExpertCard(**card))

    return make


@pytest.fixture(scope="session")
def linear_shapes():
    """Module path -> (in, out) of a model's linear layers whose path ends with one of the given names."""

    def find(model, *ends):
        shapes = {}
        for path, layer in model.named_modules():
            if isinstance(layer, nn.Linear | Conv1D) and path.endswith(ends):
                tall, wide = layer.weight.shape
                shapes[path] = (tall, wide) if isinstance(layer, Conv1D) else (wide, tall)
        return shapes

    return find


@pytest.fixture(scope="session")
def assert_same_expert():
    """Assert that two experts hold the same, bit for bit."""

    def check(one, other):
        assert (one.name, one.base_model, one.card) == (other.name, other.base_model, other.card)
        assert set(one.factors) == set(other.factors)
        for path, pair in one.factors.items():
            for mine, theirs in zip(pair, other.factors[path], strict=True):
                assert mine.dtype == theirs.dtype
                assert torch.equal(mine, theirs)

    return check
