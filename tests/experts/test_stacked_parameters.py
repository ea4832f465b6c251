"""LoRA of stacked parameters: cutting, joining, and the order of PEFT's nested wrappers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.experts.peft_keys import name_tensors
from lorary.experts.stacked_parameters import Cut, Entry, cut_entry, join_entries, read_entry
from lorary.library import Library

EXPERTS = "model.layers.0.mlp.experts"


@pytest.fixture
def expert():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    factors = {"model.layers.0.q_proj": Factors(draw(2, 6), draw(6, 2))}
    for index in range(3):
        factors[f"{EXPERTS}.gate_up_proj[{index}]"] = Factors(draw(4, 6), draw(10, 4))
        factors[f"{EXPERTS}.down_proj[{index}]"] = Factors(draw(2, 5), draw(6, 2))
    return Expert("poetry", "org/base", factors)


@pytest.fixture
def folder(expert, tmp_path):
    write_peft(expert, tmp_path / "poetry")
    (tmp_path / "poetry" / "expert.json").unlink()
    return tmp_path / "poetry"


def edit_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


def test_changes_are_those_of_pefts_formula():
    """As ``ParamWrapper.get_delta_weight``: "o r e, e r i -> e o i"."""
    a, b = torch.randn(3 * 4, 6), torch.randn(10, 4 * 3)
    expected = torch.einsum("ore,eri->eoi", b.reshape(10, 4, 3), a.reshape(3, 4, 6))
    for index in range(3):
        pair = cut_entry(a, b, Cut(index, 3))
        torch.testing.assert_close(pair.b @ pair.a, expected[index])


def test_cutting_takes_leading_dimensions():
    a, b = torch.randn(5, 12, 6), torch.randn(5, 10, 12)
    pair = cut_entry(a, b, Cut(1, 3))
    assert torch.equal(pair.a[2], cut_entry(a[2], b[2], Cut(1, 3)).a)
    assert torch.equal(pair.b[2], cut_entry(a[2], b[2], Cut(1, 3)).b)


def test_joining_pads_ranks_and_missing_entries_with_zeros():
    own = Factors(torch.randn(2, 6).bfloat16(), torch.randn(10, 2))
    a, b = join_entries({2: own, 0: Factors(torch.randn(3, 6), torch.randn(10, 3))})
    assert a.dtype == b.dtype == torch.float32
    found = cut_entry(a, b, Cut(2, 3))
    torch.testing.assert_close(found.b @ found.a, own.b @ own.a.float())
    assert not cut_entry(a, b, Cut(1, 3)).a.any()


def test_a_path_is_that_of_an_entry_only_with_an_index():
    assert read_entry(f"{EXPERTS}.up_proj[12]") == Entry(EXPERTS, "up_proj", 12)
    assert Entry(EXPERTS, "up_proj", 12).path == f"{EXPERTS}.up_proj[12]"
    assert read_entry(f"{EXPERTS}.0.up_proj") is None
    assert read_entry("up_proj[0]") is None


def test_an_expert_comes_back_from_a_folder_and_a_library(expert, folder, tmp_path, assert_same_expert):
    found = read_peft(folder)
    assert found.factors.keys() == expert.factors.keys()
    for path, pair in expert.factors.items():
        torch.testing.assert_close(found.factors[path].b @ found.factors[path].a, pair.b @ pair.a)
    library = Library.open(tmp_path / "lib", create=True)
    library.add(expert)
    assert_same_expert(library["poetry"].rename("poetry"), expert)
    assert library.verify() == []


def test_the_last_parameter_is_the_outermost(folder):
    names = load_file(folder / "adapter_model.safetensors").keys()
    prefix = f"base_model.model.{EXPERTS}"
    assert {f"{prefix}.lora_A.weight", f"{prefix}.base_layer.lora_A.weight"} <= names
    tensors = load_file(folder / "adapter_model.safetensors")
    assert tensors[f"{prefix}.lora_A.weight"].shape == (6, 5)
    assert tensors[f"{prefix}.base_layer.lora_A.weight"].shape == (12, 6)


def test_targets_may_be_ends_of_paths(expert, folder):
    """PEFT writes bare names when it has converted an adapter of earlier versions."""
    edit_config(
        folder,
        target_parameters=["down_proj", "gate_up_proj"],
        rank_pattern={r".*\.gate_up_proj": 4},
        alpha_pattern={r".*\.gate_up_proj": 4},
        r=2,
        lora_alpha=2,
        target_modules=["q_proj"],
    )
    found = read_peft(folder)
    assert found.factors.keys() == expert.factors.keys()
    path = f"{EXPERTS}.gate_up_proj[2]"
    torch.testing.assert_close(found.factors[path].b, expert.factors[path].b)


def test_a_weight_of_two_dimensions_is_a_stack_of_one(tmp_path):
    write_peft(
        Expert("x", "", {"model.mlp.gate": Factors(torch.randn(2, 6), torch.randn(4, 2))}), tmp_path / "x"
    )
    edit_config(tmp_path / "x", target_modules=[], target_parameters=["mlp.gate.weight"])
    (tmp_path / "x" / "expert.json").unlink()
    assert list(read_peft(tmp_path / "x").factors) == ["model.mlp.gate.weight[0]"]


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (["experts.down_proj"], FormatError, "factors for 2 parameters of .*names 'down_proj'"),
        (
            ["experts.wi", "experts.wo"],
            UnsupportedAdapter,
            "must be gate_up_proj, up_proj, down_proj if a module has several, found 'wi', 'wo'",
        ),
        ([], FormatError, r"must be [24] by adapter_config.json, found"),
        ("experts.down_proj", FormatError, "target_parameters must be a list of at most 1000 names"),
        ([7], FormatError, "target_parameters must be a list of at most 1000 names"),
    ],
)
def test_targets_that_do_not_fit_the_file_are_refused(folder, targets, error, message):
    edit_config(folder, target_parameters=targets)
    with pytest.raises(error, match=message):
        read_peft(folder)


@pytest.mark.parametrize("cut", [lambda a: a[:-1], lambda a: a[:0]])
def test_factors_that_are_no_stack_are_refused(folder, cut):
    name = f"base_model.model.{EXPERTS}.lora_A.weight"
    edit_tensors(folder, lambda tensors: {**tensors, name: cut(tensors[name]).clone()})
    with pytest.raises(FormatError, match=r"down_proj'?: factors must be \[N x 2, I\] and \[O, N x 2\]"):
        read_peft(folder)


def test_more_sub_layers_than_the_limit_are_refused(folder, monkeypatch):
    monkeypatch.setenv("LORARY_MAX_TENSOR_COUNT", "6")
    edit_tensors(
        folder,
        lambda tensors: {
            **tensors,
            f"base_model.model.{EXPERTS}.lora_A.weight": torch.ones(20, 5),
            f"base_model.model.{EXPERTS}.lora_B.weight": torch.ones(6, 20),
        },
    )
    with pytest.raises(FormatError, match="too many sub-layers: at most 6"):
        read_peft(folder)


def test_factors_have_the_names_that_peft_gives_them(expert):
    assert len(name_tensors(expert.factors)) == 6
