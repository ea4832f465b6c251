"""Numbers are read when they are used, and one that is not finite is never given to anybody."""

import copy
import pickle

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from safetensors.torch import load_file

from lorary.errors import FormatError
from lorary.experts import read_expert_folder, read_peft
from lorary.experts import stored_factors as room

MODULE = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def looked_at(monkeypatch):
    """The sizes of the tensors that were looked through."""
    sizes = []
    is_finite = room.is_finite

    def look(tensor):
        sizes.append(tensor.numel())
        return is_finite(tensor)

    monkeypatch.setattr(room, "is_finite", look)
    return sizes


@pytest.fixture
def read(adapter):
    """Read the adapter without its numbers."""
    return lambda: read_expert_folder(LocalFileSystem(), str(adapter))


def test_the_numbers_are_those_of_the_file_with_the_scale_folded_in(read, adapter):
    tensors = load_file(adapter / "adapter_model.safetensors")
    factors = read().factors
    assert factors.keys() == {MODULE, MODULE.replace("0", "1")}
    for module, (a, b) in factors.items():
        assert torch.equal(a, tensors[f"base_model.model.{module}.lora_A.weight"])
        assert torch.equal(b, 2 * tensors[f"base_model.model.{module}.lora_B.weight"])


def test_all_but_the_numbers_is_known_without_looking_at_them(read, looked_at):
    expert = read()
    assert len(expert.factors) == 2 and MODULE in expert.factors and "lm_head" not in expert.factors
    assert (expert.max_rank, expert.num_parameters) == (4, 2 * 4 * (32 + 32))
    assert repr(expert.rename("verse")).startswith("<Expert 'verse' for ")
    assert looked_at == []


def test_the_file_is_looked_through_once_as_a_whole(read, looked_at):
    expert = read()
    for module in expert.factors:
        assert expert.factors[module].rank == 4
    assert expert.rename("verse").factors[MODULE].b is expert.factors[MODULE].b
    assert looked_at == [expert.num_parameters]


def test_read_peft_looks_at_the_numbers_at_once(adapter, looked_at):
    read_peft(adapter)
    assert looked_at


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda expert: pickle.loads(pickle.dumps(expert))])
def test_a_stored_expert_survives_copying_and_pickling(read, assert_same_expert, duplicate):
    expert = read()
    assert_same_expert(duplicate(expert), expert)
    assert_same_expert(duplicate(expert), expert)
    assert len(pickle.dumps(expert)) < 4 * 4 * expert.num_parameters + 20_000


@pytest.mark.parametrize(
    "use",
    [
        lambda expert: expert.factors[MODULE],
        lambda expert: expert.factors.get(MODULE.replace("0", "1")),
        lambda expert: list(expert.factors.items()),
        lambda expert: dict(expert.factors),
        lambda expert: expert.dtypes,
        lambda expert: expert.to(torch.bfloat16),
        lambda expert: expert.rename("verse").factors[MODULE],
        lambda expert: pickle.loads(pickle.dumps(expert)).factors[MODULE],
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_whoever_asks_for_numbers_that_are_not_finite_is_refused(read, edit_tensors, use, value):
    edit_tensors(lambda tensors: tensors[f"base_model.model.{MODULE}.lora_A.weight"][3, 1].fill_(value))
    expert = read()
    for _ in range(2):
        with pytest.raises(FormatError, match=rf"'poetry' in '.*safetensors' .*found 1 .*module '{MODULE}'"):
            use(expert)


def test_numbers_that_the_scale_makes_infinite_are_refused(read, edit_config, edit_tensors):
    edit_config(lora_alpha=1e9)
    edit_tensors(lambda tensors: tensors[f"base_model.model.{MODULE}.lora_B.weight"][3, 1].fill_(1e37))
    with pytest.raises(FormatError, match=f"found 1 .* in b of module '{MODULE}'"):
        dict(read().factors)


def test_what_only_shaped_training_may_hold_anything(read, edit_tensors, edit_config):
    edit_config(velora_config={"num_groups": 4})
    extra = {f"base_model.model.{MODULE}.lora_velora_embed": torch.full((4,), torch.nan)}
    edit_tensors(lambda tensors: tensors.update(extra))
    assert read().factors[MODULE].rank == 4


def test_numbers_outlive_the_file(read, adapter):
    expert, expected = read(), read_peft(adapter).factors[MODULE].a.clone()
    (adapter / "adapter_model.safetensors").unlink()
    assert torch.equal(expert.factors[MODULE].a, expected)
