"""Numbers are read when they are used, and one that is not finite is never given to anybody."""

import copy
import pickle

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from safetensors.torch import load_file

from lorary.errors import FormatError
from lorary.experts import checked_files, read_alike, read_peft, write_peft
from lorary.experts import stored_factors as room
from lorary.experts.peft_reader import read_expert_folder

MODULE = "model.layers.0.self_attn.q_proj"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))


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


@pytest.fixture
def flip(read, adapter, make_expert, tmp_path):
    """Write an expert, and change one bit of its weights in place."""
    write_peft(make_expert("flipped"), tmp_path / "flipped")
    path = tmp_path / "flipped" / "adapter_model.safetensors"

    def change(position):
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)

    return change


def read_flipped(tmp_path):
    return read_expert_folder(LocalFileSystem(), str(tmp_path / "flipped"))


NOT_STORED = (
    r"expert 'flipped': '.*safetensors' has changed since it was stored: "
    r"expert.json has SHA-256 [0-9a-f]{64}, "
)
USES = [
    lambda expert: next(iter(expert.factors.values())),
    lambda expert: dict(pickle.loads(pickle.dumps(expert)).factors),
    lambda expert: dict(expert.rename("verse").factors),
    lambda expert: list(read_alike([expert])),
    lambda expert: list(read_alike([expert, expert, expert])),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("position", [-1, -40])
def test_numbers_of_a_file_that_is_not_what_was_stored_never_get_out(flip, tmp_path, use, position):
    """Guards against hashes that are written down and never looked at."""
    flip(position)
    expert = read_flipped(tmp_path)
    for _ in range(2):
        with pytest.raises(FormatError, match=NOT_STORED):
            use(expert)


@pytest.mark.parametrize("use", USES)
def test_numbers_that_change_under_the_mapping_are_looked_through_again(flip, tmp_path, monkeypatch, use):
    monkeypatch.setattr(checked_files, "SETTLED_NS", 0)
    dict(read_flipped(tmp_path).factors)
    expert = read_flipped(tmp_path)
    flip(-1)
    with pytest.raises(FormatError, match=NOT_STORED):
        use(expert)


def test_a_file_is_hashed_once_as_long_as_it_stays_the_same(flip, tmp_path, monkeypatch):
    monkeypatch.setattr(checked_files, "SETTLED_NS", 0)
    hashed = []
    compute_hash = room.StoredTensors.compute_hash
    monkeypatch.setattr(
        room.StoredTensors, "compute_hash", lambda *arguments: hashed.append(1) or compute_hash(*arguments)
    )
    for use in USES:
        use(read_flipped(tmp_path))
    assert hashed == [1]


def test_a_configuration_that_is_not_what_was_stored_is_refused_at_once(flip, tmp_path):
    """Guards against ``lora_alpha`` 8 that somebody made 64."""
    path = tmp_path / "flipped" / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": ', '"lora_alpha": 6'))
    with pytest.raises(
        FormatError, match=r"adapter_config.json' has changed since it was stored: .*remove 'config_sha256'"
    ):
        read_flipped(tmp_path)


def test_an_adapter_without_recorded_hashes_is_read_as_it_is(flip, tmp_path):
    flip(-1)
    (tmp_path / "flipped" / "expert.json").unlink()
    assert dict(read_flipped(tmp_path).factors)
