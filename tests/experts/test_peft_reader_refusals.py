"""What ``read_peft`` refuses: features an expert cannot hold, and files that are damaged or disagree."""

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts import read_peft
from lorary.experts.peft_reader import read_card

MODULE = "model.layers.0.self_attn.q_proj"


def test_all_that_is_unsupported_is_named_at_once(adapter, edit_config):
    edit_config(use_dora=True, init_lora_weights="pissa")
    with pytest.raises(
        UnsupportedAdapter, match=r"poetry' .*init_lora_weights='pissa'.*; use_dora=True with"
    ):
        read_peft(adapter)


def test_another_type_of_adapter_is_refused(adapter, edit_config):
    edit_config(peft_type="OFT")
    with pytest.raises(UnsupportedAdapter, match=r"must be of peft_type LORA, .*, found 'OFT': merge it"):
        read_peft(adapter)
    with pytest.raises(UnsupportedAdapter, match="found 'OFT'"):
        read_card(LocalFileSystem(), str(adapter))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(adapter, file):
    (adapter / file).unlink()
    with pytest.raises(FormatError, match=f"'{adapter}' must have .*, missing: {file}: save or download"):
        read_peft(adapter)


def test_a_file_that_torch_save_did_not_write_is_refused_with_a_way_out(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(FormatError, match=r"adapter_model.bin' cannot be read as weights.*save_pretrained"):
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
        ({"r": 8}, "rank must be 8 by adapter_config.json, found 4"),
        ({"rank_pattern": {"layers.0.*": 2}}, f"'{MODULE}': rank must be 2 by adapter_config.json, found 4"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern must map regular expressions"),
    ],
)
def test_a_configuration_that_disagrees_with_the_weights_is_refused(adapter, edit_config, changes, message):
    edit_config(**changes)
    with pytest.raises(FormatError, match=message):
        read_peft(adapter)


@pytest.mark.parametrize(
    ("half", "tensor", "message"),
    [
        ("B", torch.ones(32, 5), r".* agree on the rank R, found \[4, 32\] and \[32, 5\]"),
        ("A", torch.ones(4, 32, 1, 1), r"a must be 2-D and not empty, found shape \[4, 32, 1, 1\]"),
        ("A", torch.ones(4, 32, dtype=torch.int8), "a must be one of float16, .*found torch.int8"),
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
    with pytest.raises(ValueError, match="must not begin with '_', found '_poetry': choose another name"):
        read_peft(moved)
    assert read_peft(moved, "poetry").name == "poetry"
