import copy
import json

import pytest
import torch
import yaml
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from torch import nn

from lorary.errors import FormatError
from lorary.experts import read_peft, write_expert_files, write_peft
from lorary.experts.peft_reader import read_card
from lorary.experts.peft_writer import build_adapter_config

FAMILIES = ["llama", "mistral", "phi", "qwen2", "gemma", "gpt_neox", "gpt2"]
ENDS = ("q_proj", "down_proj", "dense", "fc1", "query_key_value", "c_attn", "c_proj")
CARD = {"tasks": ("haiku",), "tags": ("art: a",), "scores": {"loss": 0.5}, "provenance": {"seed": 1}}


@pytest.fixture
def load_in_peft(peft):
    """Load a folder with PEFT; a key it misses or does not know is a warning, thus an error."""

    def load(base, folder):
        return peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()

    return load


@pytest.fixture
def expert_for(make_expert, linear_shapes):
    """An expert on several layers of a base model, of one rank or of mixed ones."""

    def build(base, family, mixed=False):
        found = linear_shapes(base, *ENDS)
        ranks = {path: 1 + 3 * index if mixed else 4 for index, path in enumerate(found)}
        shapes = {path: (ranks[path], *found[path]) for path in found}
        expert = make_expert(shapes=shapes, base_model="", fan_in_fan_out=family == "gpt2")
        for a, b in expert.factors.values():
            a.mul_(0.2)
            b.mul_(0.2)
        return expert

    return build


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mixed", [False, True])
def test_peft_gives_the_logits_of_the_dense_sum(
    tmp_path, build_base, expert_for, load_in_peft, fold_dense, compute_logits, family, mixed
):
    base = build_base(family)
    expert = expert_for(base, family, mixed)
    write_peft(expert, tmp_path / "x")
    model = load_in_peft(base, tmp_path / "x")
    expected = compute_logits(fold_dense(base, expert))
    assert (expected - compute_logits(base)).abs().max() > 1e-2
    torch.testing.assert_close(compute_logits(model), expected, atol=2e-5, rtol=1e-5)
    made = {path for path, module in model.base_model.model.named_modules() if hasattr(module, "lora_A")}
    assert made == set(expert.factors)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_through_lorary_and_back_gives_peft_the_same_logits(
    tmp_path, build_base, make_adapter, load_in_peft, compute_logits, family
):
    base = build_base(family)
    ends = [path.rsplit(".", 1)[-1] for path, _ in base.named_modules() if path.endswith(ENDS)]
    settings = {"use_rslora": True, "rank_pattern": {ends[0]: 6}, "alpha_pattern": {ends[-1]: 5}}
    model = make_adapter(base, target_modules=sorted(set(ends)), **settings)
    model.save_pretrained(tmp_path / "theirs")
    write_peft(read_peft(tmp_path / "theirs"), tmp_path / "ours")
    again = load_in_peft(base, tmp_path / "ours")
    torch.testing.assert_close(compute_logits(again), compute_logits(model), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("storage", ["", "memory://"])
def test_an_expert_reads_back_exactly_as_written(tmp_path, make_expert, assert_same_expert, dtype, storage):
    shapes = {"model.q": (2, 6, 6), "model.up": (5, 4, 10), "lm_head": (9, 3, 2)}
    expert = make_expert(dtype=dtype, shapes=shapes, **CARD)
    write_peft(expert, f"{storage}{tmp_path}/deep/down")
    assert_same_expert(read_peft(f"{storage}{tmp_path}/deep/down"), expert)


def test_mixed_dtypes_read_back_exactly_too(tmp_path, make_expert, assert_same_expert):
    expert = make_expert()
    a, b = expert.factors["model.layers.0.q_proj"]
    expert.factors["model.layers.0.q_proj"] = type(expert.factors["model.layers.0.q_proj"])(a.half(), b)
    write_peft(expert, tmp_path / "x")
    assert_same_expert(read_peft(tmp_path / "x"), expert)


def test_a_dtype_asked_for_is_the_one_on_disk(tmp_path, make_expert, assert_same_expert):
    expert = make_expert()
    write_peft(expert, tmp_path / "x", dtype=torch.bfloat16)
    assert_same_expert(read_peft(tmp_path / "x"), expert.to(torch.bfloat16))
    assert read_card(LocalFileSystem(), str(tmp_path / "x")).summary.dtype == "bfloat16"


def test_an_expert_can_be_written_over_the_files_it_is_mapped_from(tmp_path, make_expert, assert_same_expert):
    expert = make_expert()
    write_peft(expert, tmp_path / "x")
    write_peft(read_peft(tmp_path / "x").to(torch.float64), tmp_path / "x")
    assert_same_expert(read_peft(tmp_path / "x"), expert.to(torch.float64))


def test_equal_experts_give_equal_files(make_expert):
    assert write_expert_files(make_expert(**CARD)) == write_expert_files(make_expert(**CARD))


def test_the_sidecar_s_hash_is_that_of_the_weights(make_expert):
    import hashlib

    files = write_expert_files(make_expert())
    assert list(files) == ["adapter_model.safetensors", "expert.json", "README.md", "adapter_config.json"]
    digest = hashlib.sha256(files["adapter_model.safetensors"]).hexdigest()
    assert json.loads(files["expert.json"])["weights_sha256"] == digest


class Nested(nn.Module):
    """Modules whose paths end alike, so that PEFT's matching by suffix could take one for another."""

    def __init__(self, depth=2):
        super().__init__()
        self.proj, self.q_proj = nn.Linear(3, 3), nn.Linear(3, 3)
        self.layers = nn.ModuleList([nn.ModuleDict({"proj": nn.Linear(3, 3)}) for _ in range(12)])
        self.block = Nested(depth - 1) if depth else None


@pytest.mark.parametrize(
    "ranks",
    [
        {"proj": 2},
        {"proj": 2, "block.proj": 3, "block.block.proj": 1},
        {"proj": 2, "layers.1.proj": 3, "layers.11.proj": 4, "q_proj": 1},
        {"block.block.layers.1.proj": 5, "block.block.layers.11.proj": 1, "block.q_proj": 2, "q_proj": 2},
        # More than 20 make PEFT shorten the list of names first.
        {f"block.block.layers.{i}.proj": 1 + i % 3 for i in range(12)}
        | {f"block.layers.{i}.proj": 2 for i in range(12)}
        | {"proj": 4},
    ],
)
def test_peft_adapts_exactly_the_modules_named_and_none_of_their_namesakes(
    tmp_path, peft, make_expert, ranks
):
    write_peft(make_expert(shapes={path: (rank, 3, 3) for path, rank in ranks.items()}), tmp_path / "x")
    config = peft.PeftConfig.from_pretrained(tmp_path / "x")
    model = peft.inject_adapter_in_model(config, Nested())
    layers = {path: module for path, module in model.named_modules() if hasattr(module, "lora_A")}
    assert {path: layer.r["default"] for path, layer in layers.items()} == ranks
    assert {layer.scaling["default"] for layer in layers.values()} == {1.0}


def test_the_configuration_is_one_other_servers_read(make_expert):
    expert = make_expert(shapes={"m.q": (2, 3, 3), "m.k": (4, 3, 3)}, base_revision="v1", fan_in_fan_out=True)
    config = build_adapter_config(expert)
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] == "org/base"
    assert config["revision"] == "v1"
    assert config["inference_mode"] is True
    assert config["fan_in_fan_out"] is True
    assert (config["r"], config["lora_alpha"], config["bias"]) == (4, 4, "none")
    assert config["rank_pattern"] == config["alpha_pattern"] == {r"^m\.q": 2}
    assert config["target_modules"] == ["m.q", "m.k"]


def test_the_model_card_s_front_matter_is_yaml(make_expert):
    card = write_expert_files(make_expert(**CARD))["README.md"].decode()
    assert yaml.safe_load(card.split("---")[1]) == {
        "base_model": "org/base",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "lorary", "art: a"],
    }


def test_weights_that_are_not_finite_are_not_written(tmp_path, make_expert):
    expert = make_expert()
    expert.factors["model.layers.0.q_proj"].b[0, 0] = 1e6
    with pytest.raises(
        FormatError, match=r"expert 'poetry' .*found 1 .* in b of module 'model.layers.0.q_proj'"
    ):
        write_peft(expert, tmp_path / "x", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["", "memory://"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, make_expert, storage):
    fs = MemoryFileSystem() if storage else LocalFileSystem()
    fs.makedirs(f"{tmp_path}/thesis")
    fs.pipe_file(f"{tmp_path}/thesis/chapter.tex", b"...")
    with pytest.raises(
        FormatError, match=r"must be empty or have only an adapter's files, found 'chapter.tex'"
    ):
        write_peft(make_expert(), f"{storage}{tmp_path}/thesis")
    assert fs.cat_file(f"{tmp_path}/thesis/chapter.tex") == b"..."
