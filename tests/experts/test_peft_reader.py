import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from lorary.experts import ExpertCard, read_peft, write_peft
from lorary.experts.peft_reader import read_card, read_expert_folder

NAMES = {
    "llama": ["q_proj", "down_proj"],
    "mistral": ["k_proj", "up_proj"],
    "phi": ["dense", "fc1"],
    "qwen2": ["v_proj", "gate_proj"],
    "gemma": ["o_proj", "q_proj"],
    "gpt_neox": ["query_key_value", "dense_4h_to_h"],
    "gpt2": ["c_attn", "mlp.c_proj"],
}
SETTINGS = {
    "names": lambda one, two: {"target_modules": [one, two]},
    "regex": lambda one, two: {"target_modules": rf".*\.1\..*({one}|{two})"},
    "all-linear": lambda one, two: {"target_modules": "all-linear", "exclude_modules": [two]},
    "rslora": lambda one, two: {"target_modules": [one, two], "r": 3, "use_rslora": True},
    "odd scale": lambda one, two: {"target_modules": [one, two], "r": 6, "lora_alpha": 7},
    "patterns": lambda one, two: {
        "target_modules": [one, two],
        "rank_pattern": {rf".*\.0\..*{two}": 3, one: 7},
        "alpha_pattern": {rf"\w+\.\w+\.1\..*{one}": 5, two: 16},
    },
    "rslora patterns": lambda one, two: {
        "target_modules": [one, two],
        "use_rslora": True,
        "rank_pattern": {two: 9},
        "alpha_pattern": {one: 3, two: 6},
    },
    "layers": lambda one, two: {"target_modules": [one, two], "layers_to_transform": 1},
    "dropout": lambda one, two: {"target_modules": [one], "lora_dropout": 0.5},
}
MODULE = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("case", SETTINGS)
def test_a_peft_adapter_folded_in_gives_peft_s_logits(
    tmp_path, build_base, make_adapter, save_adapter, fold_dense, compute_logits, family, case
):
    base = build_base(family)
    model = make_adapter(base, **SETTINGS[case](*NAMES[family]))
    expert = read_peft(save_adapter(model, tmp_path / "poetry"))
    expected = compute_logits(model)
    assert (expected - compute_logits(base)).abs().max() > 1e-2
    torch.testing.assert_close(compute_logits(fold_dense(base, expert)), expected, atol=2e-5, rtol=1e-5)
    assert expert.card.fan_in_fan_out == (family == "gpt2")
    # The file decides which modules exist: exactly those PEFT made.
    made = {path for path, module in model.base_model.model.named_modules() if hasattr(module, "lora_A")}
    assert set(expert.factors) == made


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("alpha", [8, 6])
def test_each_dtype_gives_peft_s_logits_and_keeps_it_where_nothing_is_rounded(
    tmp_path, build_base, make_adapter, save_adapter, fold_dense, compute_logits, dtype, alpha
):
    base = build_base()
    model = make_adapter(base, dtype=dtype, target_modules=["q_proj", "up_proj"], r=4, lora_alpha=alpha)
    expert = read_peft(save_adapter(model, tmp_path / "poetry", dtype))
    torch.testing.assert_close(
        compute_logits(fold_dense(base, expert)), compute_logits(model), atol=2e-5, rtol=1e-5
    )
    a, b = expert.factors[MODULE]
    assert a.dtype == dtype
    assert b.dtype == (dtype if alpha == 8 else torch.float32)


@pytest.mark.parametrize(
    "settings", [{"init_lora_weights": "mica"}, {"init_lora_weights": "orthogonal"}, "velora"]
)
def test_ways_of_training_that_leave_a_plain_lora_are_read(
    tmp_path, peft, build_base, make_adapter, save_adapter, fold_dense, compute_logits, settings
):
    if settings == "velora":
        settings = {"velora_config": {"num_groups": 4}}
    base = build_base()
    model = make_adapter(base, target_modules=["q_proj"], **settings)
    expert = read_peft(save_adapter(model, tmp_path / "poetry"))
    torch.testing.assert_close(
        compute_logits(fold_dense(base, expert)), compute_logits(model), atol=2e-5, rtol=1e-5
    )


def test_any_storage_reads_the_same(adapter, assert_same_expert):
    for file in adapter.iterdir():
        MemoryFileSystem().pipe_file(f"/shelf/poetry/{file.name}", file.read_bytes())
    expert = read_peft(adapter)
    assert_same_expert(read_peft("memory://shelf/poetry"), expert)
    assert_same_expert(read_peft(f"file://{adapter}/"), expert)
    assert_same_expert(read_expert_folder(LocalFileSystem(), str(adapter)), expert)


def test_the_name_is_the_one_asked_for_or_the_sidecar_s_or_the_folder_s(adapter, tmp_path):
    assert read_peft(adapter).name == "poetry"
    assert read_peft(adapter, "verse").name == "verse"
    write_peft(read_peft(adapter, "verse"), tmp_path / "elsewhere")
    assert read_peft(tmp_path / "elsewhere").name == "verse"
    assert read_peft(tmp_path / "elsewhere", "lines").name == "lines"


def test_a_folder_that_peft_wrote_tells_base_and_revision(adapter, edit_config):
    edit_config(base_model_name_or_path="org/base", revision="v2")
    expert = read_peft(adapter)
    assert expert.base_model == "org/base"
    assert expert.card == ExpertCard(base_revision="v2")
    known = read_card(LocalFileSystem(), str(adapter))
    assert known == ("poetry", "org/base", expert.card, None, None, None)


def test_a_card_is_read_without_opening_the_weights(tmp_path, make_expert):
    expert = make_expert(tasks=("haiku",))
    write_peft(expert, tmp_path / "x")
    (tmp_path / "x" / "adapter_model.safetensors").unlink()
    known = read_card(LocalFileSystem(), str(tmp_path / "x"))
    assert (known.name, known.base_model, known.card) == ("poetry", "org/base", expert.card)
    assert known.summary.num_parameters == expert.num_parameters


def test_weights_of_scale_one_stay_mapped(tmp_path, make_expert):
    write_peft(make_expert(), tmp_path / "x")
    expert = read_peft(tmp_path / "x")
    with open("/proc/self/maps") as maps:
        assert str(tmp_path / "x") in maps.read()
    assert expert.factors
