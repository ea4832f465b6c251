import json

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import load_file, save_file

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts import ExpertCard, read_card, read_expert_folder, read_peft, write_peft

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
    assert known == ("poetry", "org/base", expert.card, None, None)


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


def test_all_that_is_unsupported_is_named_at_once(tmp_path, peft, build_base, make_adapter):
    model = make_adapter(build_base(), target_modules=["q_proj"], use_dora=True, modules_to_save=["lm_head"])
    model.save_pretrained(tmp_path / "x")
    with pytest.raises(
        UnsupportedAdapter, match=r"x' .*modules_to_save=.*; use_dora=True: train with"
    ) as caught:
        read_peft(tmp_path / "x")
    assert "lm_head" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "feature"),
    [
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "LoRA on embeddings"),
        ({"target_modules": ["q_proj", "lm_head"]}, "whole base weights"),
    ],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.filterwarnings("ignore:.*LoRA tensor.* have invalid shape")
def test_what_peft_writes_with_a_feature_beyond_lora_is_refused(
    tmp_path, build_base, make_adapter, settings, feature
):
    model = make_adapter(build_base(), **{"target_modules": ["q_proj"], **settings})
    model.save_pretrained(tmp_path / "x")
    with pytest.raises(UnsupportedAdapter, match=feature):
        read_peft(tmp_path / "x")


def test_another_type_of_adapter_is_refused(adapter, edit_config):
    edit_config(peft_type="IA3")
    with pytest.raises(UnsupportedAdapter, match="must be of peft_type 'LORA', found 'IA3'"):
        read_peft(adapter)
    with pytest.raises(UnsupportedAdapter, match="found 'IA3'"):
        read_card(LocalFileSystem(), str(adapter))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(adapter, file):
    (adapter / file).unlink()
    with pytest.raises(FormatError, match=f"'{adapter}' must hold .*, missing: {file}: save or fetch"):
        read_peft(adapter)


def test_a_folder_with_a_pickle_only_is_refused_with_a_way_out(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(
        FormatError, match=r"found only adapter_model.bin: a pickle can run code.*save_pretrained"
    ):
        read_peft(adapter)


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    with pytest.raises(FormatError, match="must be a PEFT adapter folder, found nothing: check the path"):
        read_peft(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(FormatError, match="found a file"):
        read_peft(str(tmp_path / "file"))
    with pytest.raises(FormatError, match="found a file"):
        read_card(LocalFileSystem(), str(tmp_path / "file"))
    with pytest.raises(FormatError, match="hf://user/repository"):
        read_peft("memory://nowhere")


def test_truncated_weights_are_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=rf"'{path}' must be a safetensors file, found it truncated"):
        read_peft(adapter)


def test_a_configuration_that_is_no_json_is_refused(adapter):
    (adapter / "adapter_config.json").write_text("r: 8\n")
    with pytest.raises(FormatError, match=r"adapter_config.json' must be a JSON file"):
        read_peft(adapter)


def test_a_malformed_sidecar_is_refused(adapter):
    (adapter / "expert.json").write_text('{"lorary": 1, "name": "poetry", "basemodel": "x"}')
    with pytest.raises(
        FormatError, match=r"expert.json' .*unknown key 'basemodel': did you mean 'base_model'"
    ):
        read_peft(adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 8}, "adapter_config.json says rank 8, found rank 4"),
        ({"rank_pattern": {"layers.0.*": 2}}, f"'{MODULE}': adapter_config.json says rank 2, found rank 4"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern must be an object of regular expressions"),
    ],
)
def test_a_configuration_that_disagrees_with_the_weights_is_refused(adapter, edit_config, changes, message):
    edit_config(**changes)
    with pytest.raises(FormatError, match=message):
        read_peft(adapter)


@pytest.mark.parametrize(
    ("half", "tensor", "message"),
    [
        ("B", torch.ones(32, 5), r".* agree on the rank R, got \[4, 32\] and \[32, 5\]"),
        ("A", torch.ones(4, 32, 1, 1), r"a must be 2-D and not empty, got shape \[4, 32, 1, 1\]"),
        ("A", torch.ones(4, 32, dtype=torch.int8), "a must be one of float16, .*got torch.int8"),
        ("B", torch.ones(32, 0), "b must be 2-D and not empty"),
    ],
)
def test_wrong_shapes_are_refused_with_file_and_module(adapter, edit_tensors, half, tensor, message):
    edit_tensors(lambda tensors: tensors.update({f"base_model.model.{MODULE}.lora_{half}.weight": tensor}))
    with pytest.raises(
        FormatError, match=f"adapter_model.safetensors', module '{MODULE}': {message}.*save the"
    ):
        read_peft(adapter)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_file_and_module(adapter, edit_tensors, value):
    edit_tensors(lambda tensors: tensors[f"base_model.model.{MODULE}.lora_B.weight"][3, 1].fill_(value))
    with pytest.raises(FormatError, match=rf"'poetry' in '.*safetensors' .*found 1 .*module '{MODULE}'"):
        read_peft(adapter)


def test_half_a_pair_is_refused(adapter, edit_tensors):
    edit_tensors(lambda tensors: tensors.pop(f"base_model.model.{MODULE}.lora_B.weight"))
    with pytest.raises(FormatError, match=f"found only lora_A of '{MODULE}'"):
        read_peft(adapter)


def test_an_unknown_tensor_is_refused_never_skipped(adapter, edit_tensors):
    edit_tensors(lambda tensors: tensors.update({"base_model.model.q.lora_Z": torch.ones(1)}))
    with pytest.raises(FormatError, match=r"found 'base_model.model.q.lora_Z'"):
        read_peft(adapter)


def test_a_folder_whose_name_is_unsafe_needs_another_name(adapter):
    moved = adapter.rename(adapter.parent / "_poetry")
    with pytest.raises(ValueError, match="must not begin with '_', got '_poetry': choose another name"):
        read_peft(moved)
    assert read_peft(moved, "poetry").name == "poetry"
