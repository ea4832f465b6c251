"""Tiny base models of each family, random experts for them, and a tiny tokenizer."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from lorary.experts import Expert, ExpertCard, Factors
from lorary.models import find_layers, layer_shape


@pytest.fixture(scope="session")
def build_base(tiny_config):
    """Build a seeded base model of a family, in float32."""

    def build(family="llama", **changes):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny_config(family, **changes)).eval().requires_grad_(False)
        model.generation_config.eos_token_id = None
        return model

    return build


@pytest.fixture
def llama(build_base):
    return build_base("llama")


@pytest.fixture(scope="session")
def make_expert():
    """Make a seeded random expert for a model, strong enough to change its logits."""

    def make(model, name="poetry", *, rank=3, seed=1, targets="all-linear", dtype=torch.float32, **card):
        generator = torch.Generator().manual_seed(seed)
        factors = {}
        for path, layer in find_layers(model, targets).items():
            width_in, width_out = layer_shape(layer)
            a = torch.randn(rank, width_in, generator=generator) * width_in**-0.5
            b = torch.randn(width_out, rank, generator=generator) * 0.3
            factors[path] = Factors(a.to(dtype), b.to(dtype))
        return Expert(name, "org/base", factors, ExpertCard(**card))

    return make


@pytest.fixture
def experts(llama, make_expert):
    """Three experts of the Llama."""
    return {name: make_expert(llama, name, seed=seed) for seed, name in enumerate(["poetry", "sql", "law"])}


@pytest.fixture(scope="session")
def input_ids():
    """Three sequences of seven tokens."""
    return torch.randint(3, 96, (3, 7), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="session")
def compute_logits(input_ids):
    """The logits of a model on ``input_ids``, without a cache."""

    def compute(model):
        with torch.no_grad():
            return model(input_ids=input_ids, use_cache=False).logits

    return compute


@pytest.fixture(scope="session")
def tokenizer():
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "yes", "no"]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")


@pytest.fixture
def backend(request, monkeypatch):
    """A back end of ``mix``; Triton's also where it sorts its pairs, which else it does for many only."""
    if request.param != "triton, sorted":
        return request.param
    monkeypatch.setattr("lorary.kernels.triton_ops.FEW_PAIRS", 0)
    return "triton"
