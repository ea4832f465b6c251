"""Adapters whose tensors or base model have other names than PEFT gives."""

import warnings

import pytest
from safetensors.torch import load_file, save_file

from lorary.errors import FormatError, IncompatibleExpert
from lorary.experts import read_peft
from lorary.models import wrap_base
from lorary.models.check_base import check_base


@pytest.fixture
def rename(adapter):
    """Give the tensors of an adapter's file other names."""

    def change(new_name):
        path = adapter / "adapter_model.safetensors"
        save_file({new_name(name): tensor for name, tensor in load_file(path).items()}, path)

    return change


PREFIX = "base_model.model."
WRAPPED = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "torch.compile within": lambda name: name.replace(PREFIX, f"{PREFIX}_orig_mod."),
    "FSDP": lambda name: name.replace("layers.0.", "layers.0._fsdp_wrapped_module."),
    "checkpoint wrapper": lambda name: name.replace("self_attn", "self_attn._checkpoint_wrapped_module"),
    "DDP": lambda name: f"module.{name}",
    "PEFT twice": lambda name: PREFIX + name,
    "all at once": lambda name: f"module._orig_mod.{PREFIX}_orig_mod.{name}",
}


@pytest.mark.parametrize("new_name", WRAPPED.values(), ids=WRAPPED)
def test_what_wrapped_the_model_in_training_is_left_out_of_names(
    adapter, rename, new_name, assert_same_expert
):
    expected = read_peft(adapter)
    rename(new_name)
    with pytest.warns(UserWarning, match="are read without the names of wrappers of training") as caught:
        found = read_peft(adapter)
    assert len(caught) == 1
    assert_same_expert(found, expected)


def test_factors_of_one_module_by_two_names_are_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, **{f"module.{name}": tensor.clone() for name, tensor in tensors.items()}}, path)
    with pytest.raises(FormatError, match=r"each module's factors once, found .* of one module"):
        read_peft(adapter)


NAMES = {
    "unsloth/tiny-model-unsloth-bnb-4bit": (True, "is that of a quantised copy"),
    "/home/u/.cache/huggingface/hub/models--org--tiny-model/snapshots/0123456789abcdef": (True, None),
    "C:\\models\\tiny-model": (True, None),
    "out/llama/checkpoint-500": (False, None),
}


@pytest.mark.parametrize(
    ("name", "expected"), NAMES.items(), ids=["bnb", "snapshot", "windows", "checkpoint"]
)
def test_the_base_s_name_fits_however_it_was_written(adapter, edit_config, build_base, name, expected):
    edit_config(base_model_name_or_path=name)
    expert, (fits, told) = read_peft(adapter), expected
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if fits:
            check_base(wrap_base(build_base(), name="org/tiny-model"), expert)
        else:
            with pytest.raises(IncompatibleExpert, match="was trained on 'out/llama/checkpoint-500'"):
                check_base(wrap_base(build_base(), name="org/tiny-model"), expert)
            check_base(wrap_base(build_base(), name=name), expert)
    assert [told in str(warning.message) for warning in caught] == ([True] if told else [])
