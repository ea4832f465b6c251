import errno
import os
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from lorary.errors import FormatError
from lorary.experts.folder import replace_folder
from lorary.experts.peft_reader import read_expert_folder
from lorary.experts.peft_writer import write_expert_files

OLD = {"adapter_model.safetensors": b"old", "adapter_config.json": b"old"}
NEW = {"adapter_model.safetensors": b"new", "README.md": b"new", "adapter_config.json": b"new"}


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_missing_folder_is_made_with_its_parents(tmp_path):
    replace_folder(LocalFileSystem(), str(tmp_path / "a" / "b"), NEW)
    assert read_all(tmp_path / "a" / "b") == NEW
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "x").mkdir()
    replace_folder(LocalFileSystem(), str(tmp_path / "x"), NEW)
    assert read_all(tmp_path / "x") == NEW


def test_an_adapter_is_replaced_whole(tmp_path):
    fs = LocalFileSystem()
    replace_folder(fs, str(tmp_path / "x"), {**OLD, "expert.json": b"old"})
    replace_folder(fs, str(tmp_path / "x"), NEW)
    assert read_all(tmp_path / "x") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_link_keeps_leading_to_the_folder(tmp_path):
    replace_folder(LocalFileSystem(), str(tmp_path / "x"), OLD)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    replace_folder(LocalFileSystem(), str(tmp_path / "link"), NEW)
    assert (tmp_path / "link").is_symlink()
    assert read_all(tmp_path / "x") == NEW


def test_a_full_disk_loses_nothing_and_leaves_nothing(tmp_path, monkeypatch):
    fs = LocalFileSystem()
    replace_folder(fs, str(tmp_path / "x"), OLD)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        replace_folder(fs, str(tmp_path / "x"), NEW)
    assert read_all(tmp_path / "x") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_interrupt_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    fs = LocalFileSystem()
    replace_folder(fs, str(tmp_path / "x"), OLD)
    rename = Path.rename

    def interrupt(path, target):
        if path.suffix == ".new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(fs, str(tmp_path / "x"), NEW)
    assert read_all(tmp_path / "x") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_interrupted_write_to_other_storage_leaves_nothing_that_can_be_read(make_expert, monkeypatch):
    fs = MemoryFileSystem()
    replace_folder(fs, "/shelf/x", write_expert_files(make_expert()))
    pipe_file = MemoryFileSystem.pipe_file

    def interrupt(self, path, value, **options):
        if path.endswith("expert.json"):
            raise KeyboardInterrupt
        return pipe_file(self, path, value, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(fs, "/shelf/x", write_expert_files(make_expert("verse")))
    with pytest.raises(FormatError, match=r"missing: adapter_config.json"):
        read_expert_folder(fs, "/shelf/x")


@pytest.mark.parametrize("others", [["notes.txt"], ["adapter_config.json", "checkpoint-100"], ["README.md"]])
def test_a_folder_with_anything_else_in_it_is_refused(tmp_path, others):
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(
        FormatError,
        match=f"'{tmp_path}' must be empty or have only an adapter's files, found .*'{others[-1]}'",
    ):
        replace_folder(LocalFileSystem(), str(tmp_path), NEW)
    assert read_all(tmp_path) == dict.fromkeys(others, b"mine")


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(FormatError, match="found a file: choose another path"):
        replace_folder(LocalFileSystem(), str(tmp_path / "x"), NEW)
    assert (tmp_path / "x").read_bytes() == b"mine"
