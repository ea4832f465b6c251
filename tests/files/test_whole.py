import os

import pytest

from lorary.files import whole, write_whole


def test_a_file_is_written_with_its_folders_and_replaced_whole(tmp_path):
    path = tmp_path / "a" / "b" / "page.html"
    write_whole(path, "é, longer")
    assert path.read_text(encoding="utf-8") == "é, longer"
    assert write_whole(path, b"second") == path
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["page.html"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, step):
    path = tmp_path / "page.html"
    write_whole(path, b"old")

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("page.html", b"old")]


def test_a_folder_that_cannot_be_synced_is_told_as_what_it_is(tmp_path, monkeypatch):
    """Guards a bug: the file was in its place already, and the message was that it is missing."""

    def fail(*_):
        raise OSError("input/output error")

    monkeypatch.setattr(whole, "sync_folder", fail)
    with pytest.raises(OSError, match="input/output error"):
        write_whole(tmp_path / "page.html", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("page.html", b"new")]


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "foreign").write_text("kept")
    (tmp_path / "link").symlink_to("foreign")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "foreign").read_text() == "kept"
    assert not (tmp_path / "link").is_symlink()


def test_names_of_any_length_can_be_written(tmp_path):
    path = tmp_path / ("詩" * 85)
    assert write_whole(path, b"x").read_bytes() == b"x"
