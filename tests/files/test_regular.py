import os
import socket
from hashlib import sha256

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from lorary.errors import FormatError
from lorary.files import hash_file, open_regular, read_at_most


def test_a_file_is_opened_for_reading(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"


def test_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match=r"pipe' must be a regular file, found a named pipe"):
        open_regular(tmp_path / "pipe")


def test_a_device_is_refused():
    with pytest.raises(FormatError, match="'/dev/zero' must be a regular file, found a device"):
        open_regular("/dev/zero")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(FormatError, match="'socket' must be a regular file, found a socket"):
            open_regular("socket")


def test_a_file_is_hashed_in_parts(tmp_path):
    content = b"part" * 2**19
    (tmp_path / "file").write_bytes(content)
    assert hash_file(tmp_path / "file") == sha256(content).hexdigest()
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="symbolic links"):
        hash_file(tmp_path / "link")


def test_a_link_is_followed_only_where_that_is_wanted(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(tmp_path / "link", follow=False)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_file_above_the_limit_is_refused(tmp_path, monkeypatch, kind):
    fs = LocalFileSystem() if kind == "local" else MemoryFileSystem()
    path = str(tmp_path / "file") if kind == "local" else f"/{tmp_path.name}/file"
    monkeypatch.setenv("LORARY_MAX_JSON_MB", "0.00001")
    fs.pipe_file(path, b"0123456789")
    assert read_at_most(path, fs=fs) == b"0123456789"
    fs.pipe_file(path, b"0123456789a")
    with pytest.raises(FormatError, match=r"is too large: at most 1e-05 megabytes.*LORARY_MAX_JSON_MB"):
        read_at_most(path, fs=fs)


def test_folders_and_links_to_themselves_are_refused_where_files_are_wanted(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for name, found in (("loop", "links that lead to each other"), ("", "a folder")):
        for follow in (True, False) if name == "" else (True,):
            with pytest.raises(FormatError, match=f"must be a regular file, found {found}"):
                open_regular(tmp_path / name, follow=follow)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
