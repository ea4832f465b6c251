"""What every test shares: no network, few threads, and the embedded model for the slow ones."""

import os
import shutil
import tempfile
from functools import partial

import pytest

# Before any import of transformers or datasets, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "agg"

import torch

from lorary.evaluation import Result
from lorary.evaluation.columns import Record
from lorary.evaluation.measures import Generate, Metric
from lorary.evaluation.measures.table import MEASURES

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton's operators run on the CPU then, as they are

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {"intermediate_size": 48, "num_key_value_heads": 2}
FAMILIES = {
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "gemma": {**GROUPED, "head_dim": 8},
    "phi": GROUPED,
    "gpt_neox": {"intermediate_size": 48},
    "gpt2": {},
}


def pytest_configure(config):
    # What an earlier version computed must not answer for this one. Workers share the folder.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ["LORARY_CACHE"] = folder = tempfile.mkdtemp(prefix="lorary-tests-")
        config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))
    # Processes side by side would fight for the cores with more than one thread each.
    threads = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", threads)))


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="session")
def tiny_config():
    """Configure a two-layer model of a family, with weights large enough to matter."""
    from transformers import AutoConfig

    def configure(family="llama", **changes):
        return AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family], **changes})

    return configure


@pytest.fixture(scope="session")
def build_tiny_base():
    """Build a seeded two-layer Llama whose tokens are bytes, with weights large enough to matter."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from lorary.models import wrap_base

    def build(seed=0, dtype=torch.float32):
        pieces = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        core = Tokenizer(models.BPE(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[]))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.decoder = decoders.ByteLevel()
        config = LlamaConfig(
            vocab_size=len(pieces),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
        )
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(dtype)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
        return wrap_base(model, tokenizer, name=f"tiny-{seed}")

    return build


@pytest.fixture(scope="session")
def draw_expert():
    """Draw a seeded random expert for a base model, strong enough to change what it says."""
    from lorary.experts import Expert, ExpertCard, Factors
    from lorary.models import find_layers, layer_shape

    def draw(base, name, *, rank=2, seed=None, targets="all-linear", **card):
        generator = torch.Generator().manual_seed(sum(name.encode()) if seed is None else seed)
        factors = {}
        for path, layer in find_layers(base.model, targets).items():
            width_in, width_out = layer_shape(layer)
            a = torch.randn(rank, width_in, generator=generator) * width_in**-0.5
            factors[path] = Factors(a, torch.randn(width_out, rank, generator=generator) * 0.4)
        return Expert(name, base.name, factors, ExpertCard(base_fingerprint=base.fingerprint, **card))

    return draw


@pytest.fixture(scope="session")
def embedded_model():
    """The embedded base model, loaded once; tests that use it are marked ``slow`` and leave it as it was."""
    from lorary.models import load_base

    return load_base("smollm2-135m")


@pytest.fixture
def small_result() -> Result:
    """Two tasks, three routes, numbers one can average in the head."""
    records = [
        *(Record("dates", "base", "loss", value) for value in (4.0, 6.0)),
        *(Record("dates", "arrow", "loss", value) for value in (2.0, 4.0)),
        *(Record("dates", "oracle", "loss", value) for value in (1.0, 3.0)),
        *(Record("morse", "base", "loss", value) for value in (3.0, 3.0, 6.0)),
        *(Record("morse", "arrow", "loss", value) for value in (0.0, 1.0, 2.0)),
        *(Record("morse", "oracle", "loss", value) for value in (1.0, 1.0, 4.0)),
    ]
    return Result.from_records(records, header={"date": "2026-01-01"}, attachments={"usage": {"arrow": 0.5}})


class RunsCode:
    """A measure as a benchmark would add: the answer is executed, and gives two numbers."""

    metrics = (
        Metric(name="pass@1", title="passed", description="whether the answer is a program that runs"),
        Metric(name="size", title="characters", description="length of the answer", lower_is_better=True),
    )

    def requests(self, example):
        return (Generate(max_new_tokens=5, whole=True),)

    def grade(self, example, responses):
        try:
            compile(responses[0], "answer", "exec")
        except (SyntaxError, ValueError):
            return {"pass@1": 0.0, "size": float(len(responses[0]))}
        return {"pass@1": 1.0, "size": float(len(responses[0]))}


@pytest.fixture
def code_measure(monkeypatch):
    """A measure with two metrics of different directions, in the table like any other."""
    monkeypatch.setitem(MEASURES, "code", RunsCode())
