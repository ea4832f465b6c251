import os
from pathlib import Path

import pytest

from lorary.cli.out_place import check_out


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("lib", "folder"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    os.mkfifo("fifo")
    Path("link").symlink_to("file")
    Path("inside").symlink_to("lib")


@pytest.mark.parametrize("out", ["new", "folder", "folder/new/deeper", "library"])
def test_a_folder_may_be_new_or_there(places, out):
    check_out(Path(out), "lib")
    check_out(Path(out), "s3://bucket/lib")


@pytest.mark.parametrize("out", ["new.yaml", "file", "folder/new.yaml"])
def test_a_file_may_be_new_or_there(places, out):
    check_out(Path(out), "lib", is_file=True)


@pytest.mark.parametrize(
    ("out", "is_file", "message"),
    [
        ("file", False, "must be a folder or not exist yet"),
        ("fifo", False, "must be a folder or not exist yet"),
        ("/dev/null", False, "must be a folder or not exist yet"),
        ("folder", True, "must be a regular file or not exist yet"),
        ("fifo", True, "must be a regular file or not exist yet"),
        ("link", True, "must be a regular file or not exist yet"),
        ("/dev/null", True, "must be a regular file or not exist yet"),
        ("/dev/stdout", True, "must be a regular file or not exist yet"),
        ("file/below", False, "must be inside a folder, but '.*file' is not a folder"),
        ("fifo/below", True, "must be inside a folder, but '.*fifo' is not a folder"),
        ("lib", False, "must be outside library 'lib'"),
        ("lib/x/y", False, "must be outside library 'lib'"),
        ("folder/../lib/poetry/expert.json", True, "must be outside library 'lib'"),
        ("inside/x", True, "must be outside library 'lib'"),
        ("s3://bucket/x", False, "must be a local path, found a URL"),
        ("file:///x", True, "must be a local path, found a URL"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused(places, out, is_file, message):
    """Devices were replaced by files, and experts' files by others, where root or their owner named them."""
    with pytest.raises(ValueError, match=message):
        check_out(Path(out), "lib", is_file=is_file)


@pytest.mark.parametrize("out", ["x.png", "/dev/null", "lib/poetry/expert.json", "."])
def test_clusters_are_not_computed_for_such_a_place(lorary, library, monkeypatch, tmp_path, out):
    monkeypatch.chdir(tmp_path)
    code, output, errors = lorary("cluster", library.url, "--out", out)
    assert (code, output) == (2, "")
    assert "error: --out " in errors


def test_links_in_a_circle_are_no_folder(places):
    Path("loop").symlink_to("loop")
    with pytest.raises(ValueError, match="must be outside library 'loop'"):
        check_out(Path("loop"), "loop")
