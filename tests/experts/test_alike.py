"""Read together or one by one, experts have the same factors."""

import shutil
from pathlib import Path

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError
from lorary.experts import Expert, Factors, read_alike, write_peft
from lorary.experts import alike as room
from lorary.experts.peft_reader import read_expert_folder

MODULE = "model.layers.0.self_attn.q_proj"
OTHER = {"model.layers.0.q_proj": (3, 6, 6), "model.layers.2.up_proj": (1, 6, 10)}


@pytest.fixture
def read(tmp_path):
    """Write an expert to a folder and read it from there, its numbers not yet."""

    def write_and_read(expert, number=0):
        folder = tmp_path / f"{expert.name}-{number}"
        write_peft(expert, folder)
        return read_expert_folder(LocalFileSystem(), str(folder))

    return write_and_read


@pytest.fixture
def alike(read, make_expert):
    """Four experts of one layout, in files, with different numbers."""
    expert = make_expert()
    return [read(scale(expert, factor), number) for number, factor in enumerate([1, 2, -3, 0.5])]


def scale(expert, factor):
    factors = {path: Factors(a * factor, b - factor) for path, (a, b) in expert.factors.items()}
    return Expert(expert.name, expert.base_model, factors)


def gather(experts):
    """Bring together what is read, by expert."""
    found = [{} for _ in experts]
    for where, pairs in read_alike(experts):
        for path, (a, b) in pairs.items():
            assert len(a) == len(b) == where.stop - where.start
            for index in range(where.start, where.stop):
                assert path not in found[index]
                found[index][path] = Factors(a[index - where.start].clone(), b[index - where.start].clone())
    return found


def assert_read(experts):
    for expert, found in zip(experts, gather(experts), strict=True):
        assert found.keys() == expert.factors.keys()
        for path, pair in found.items():
            for tensor, expected in zip(pair, expert.factors[path], strict=True):
                torch.testing.assert_close(tensor, expected, rtol=0, atol=0, check_dtype=False)


def test_experts_of_one_layout_are_read_at_once(alike):
    (only,) = read_alike(alike)
    assert only.where == slice(0, 4)
    assert_read(alike)


@pytest.mark.parametrize("most", [1, 1200, 2**26])
def test_neighbours_of_every_kind_are_read(alike, read, make_expert, monkeypatch, most):
    monkeypatch.setattr(room, "_MOST_BYTES", most)
    other = make_expert("other", shapes=OTHER)
    mixed = Expert(
        "mixed",
        "org/base",
        {path: Factors(a.bfloat16(), b) for path, (a, b) in make_expert().factors.items()},
    )
    half = read(make_expert("half", dtype=torch.bfloat16))
    experts = [*alike[:3], other, other.to(torch.float64), read(other), read(mixed), mixed, half, alike[3]]
    assert_read(experts)
    assert_read(experts[::-1])


@pytest.mark.parametrize("alpha", [8, 12, -2, 1e-40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_scale_is_folded_in(build_base, make_adapter, save_adapter, tmp_path, alpha, dtype):
    model = make_adapter(build_base(), lora_alpha=alpha, target_modules=["q_proj", "up_proj"])
    folders = [save_adapter(model, tmp_path / name, dtype) for name in ("one", "two")]
    assert_read([read_expert_folder(LocalFileSystem(), str(folder)) for folder in folders])


@pytest.fixture
def broken(adapter, edit_tensors, tmp_path):
    """A sound adapter's expert, and that of one with the same layout and a number changed."""

    def change(value):
        sound = shutil.copytree(adapter, tmp_path / "sound")
        edit_tensors(lambda tensors: tensors[f"base_model.model.{MODULE}.lora_B.weight"][3, 1].fill_(value))
        return [read_expert_folder(LocalFileSystem(), str(folder)) for folder in (sound, adapter)]

    return change


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(broken, value):
    with pytest.raises(FormatError, match=rf"expert 'poetry' in '.*' .*found 1 .* in b of module '{MODULE}'"):
        gather(broken(value))


def test_what_the_scale_makes_infinite_is_refused(broken, edit_config):
    edit_config(lora_alpha=1e9)
    with pytest.raises(FormatError, match=rf"expert 'poetry' in '.*' .*found 1 .* in b of module '{MODULE}'"):
        gather(broken(1e37))


def test_what_only_shaped_training_may_hold_anything(adapter, edit_tensors, edit_config):
    edit_config(velora_config={"num_groups": 4})
    extra = {f"base_model.model.{MODULE}.lora_velora_embed": torch.full((4,), torch.nan)}
    edit_tensors(lambda tensors: tensors.update(extra))
    assert_read([read_expert_folder(LocalFileSystem(), str(adapter))] * 2)


def test_a_file_that_is_replaced_or_gone_is_read_as_it_was(alike, tmp_path):
    files = [tmp_path / f"poetry-{number}" / "adapter_model.safetensors" for number in range(4)]
    shutil.copy(files[0], tmp_path / "other").rename(files[1])
    files[2].unlink()
    found = gather(alike)
    for number, own in enumerate(found):
        assert torch.equal(own["model.layers.0.q_proj"].a, alike[number].factors["model.layers.0.q_proj"].a)
    assert len({float(own["model.layers.0.q_proj"].a[0, 0]) for own in found}) == 4


def test_numbers_that_are_read_together_take_no_memory_of_their_own(alike, tmp_path):
    """Mapped pages that were looked at would count as the process's."""
    gather(alike)
    lines = Path("/proc/self/smaps").read_text().splitlines()
    mapped = [number for number, line in enumerate(lines) if str(tmp_path) in line]
    assert len(mapped) == 4
    for number in mapped:
        resident = next(line for line in lines[number:] if line.startswith("Rss:"))
        assert resident.split() == ["Rss:", "0", "kB"]


def test_experts_on_a_device_are_given_there(alike, make_expert):
    for _, pairs in read_alike([*alike, make_expert()], "meta"):
        assert {tensor.device.type for pair in pairs.values() for tensor in pair} == {"meta"}
