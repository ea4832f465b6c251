"""Adapters whose weights torch.save wrote: read within limits, without running anything."""

import zipfile

import pytest
import torch
from safetensors.torch import load_file

from lorary.errors import FormatError
from lorary.experts import read_peft
from lorary.library import Library


@pytest.mark.parametrize("file", ["adapter_model.bin", "adapter_model.ckpt"])
@pytest.mark.parametrize("is_nested", [False, True])
def test_weights_that_torch_save_wrote_are_read(adapter, assert_same_expert, file, is_nested):
    expected = read_peft(adapter)
    tensors = load_file(adapter / "adapter_model.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3} if is_nested else tensors, adapter / file)
    (adapter / "adapter_model.safetensors").unlink()
    assert_same_expert(read_peft(adapter), expected)


def test_they_can_be_added_to_a_library(adapter, tmp_path):
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    library = Library.open(tmp_path / "lib", create=True)
    library.add(read_peft(adapter))
    assert library["poetry"].max_rank == 4


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def write_compressed(path, tensors):
    torch.save(tensors, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, tensors: torch.save({"x": Evil()}, path), "cannot be read as weights"),
        (lambda path, tensors: path.write_bytes(b"PK\x03\x04" + bytes(90)), "not an archive by torch.save"),
        (lambda path, tensors: path.write_bytes(b""), "not an archive by torch.save"),
        (lambda path, tensors: torch.save([1], path), "not a dictionary of tensors"),
        (lambda path, tensors: torch.save({"a": 1}, path), "'a' is not a dense floating-point tensor"),
        (
            lambda path, tensors: torch.save({"a": torch.zeros(2).to_sparse()}, path),
            "not a dense floating-point tensor",
        ),
        (
            lambda path, tensors: torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, path),
            "its tensors have more bytes than the file",
        ),
        (
            lambda path, tensors: torch.save(tensors, path, _use_new_zipfile_serialization=False),
            "older than 2020",
        ),
        (write_compressed, "its members are compressed"),
    ],
)
def test_other_pickles_are_refused_and_nothing_runs(adapter, capsys, write, message):
    tensors = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    write(adapter / "adapter_model.bin", tensors)
    with pytest.raises(FormatError, match=message):
        read_peft(adapter)
    assert "executed" not in capsys.readouterr().out


def test_a_pickle_with_too_long_an_index_is_refused(adapter, monkeypatch):
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    monkeypatch.setenv("LORARY_MAX_PICKLE_MB", "0.0001")
    with pytest.raises(FormatError, match=r"is too long: at most 0.0001 megabytes"):
        read_peft(adapter)
