"""What adapters have in common is found once; what is wrong with one is said of that one."""

import json
import shutil

import pytest
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError
from lorary.experts.peft_reader import read_expert_folder


@pytest.fixture
def copy_adapter(adapter, tmp_path):
    """Copy the adapter, with some settings changed."""

    def copy(name, **changes):
        folder = shutil.copytree(adapter, tmp_path / name)
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return str(folder)

    return copy


def find_layout(folder):
    return read_expert_folder(LocalFileSystem(), folder).factors.layout


def test_adapters_of_one_recipe_share_their_layout(adapter, copy_adapter):
    own = find_layout(str(adapter))
    for number, same in enumerate([{}, {"target_modules": ["x"]}, {"lora_dropout": 0.3}]):
        assert find_layout(copy_adapter(f"same{number}", **same)) is own
    scaled = find_layout(copy_adapter("other", lora_alpha=1))
    assert scaled is not own and scaled.names.keys() == own.names.keys()
    assert set(scaled.scales.values()) == {0.25} and set(own.scales.values()) == {2}


def test_outlines_have_shapes_and_dtypes_and_no_numbers(adapter):
    expert = read_expert_folder(LocalFileSystem(), str(adapter))
    assert expert.outlines.keys() == expert.factors.keys()
    for path, pair in expert.factors.items():
        for outline, tensor in zip(expert.outlines[path], pair, strict=True):
            assert outline.is_meta and (outline.shape, outline.dtype) == (tensor.shape, tensor.dtype)


def test_a_fault_is_said_of_each_adapter_that_has_it(copy_adapter):
    for name in ("one", "two"):
        folder = copy_adapter(name, r=5)
        with pytest.raises(
            FormatError, match=f"'{folder}/adapter_model.safetensors', module .* rank must be 5"
        ):
            find_layout(folder)


def test_a_file_that_ends_otherwise_is_no_twin(adapter, copy_adapter):
    find_layout(str(adapter))
    weights = f"{copy_adapter('short')}/adapter_model.safetensors"
    with open(weights, "r+b") as file:
        file.truncate(file.seek(0, 2) - 4)
    with pytest.raises(FormatError, match=f"'{weights}' must be a safetensors file, found it truncated"):
        find_layout(weights.rpartition("/")[0])
