"""Files that grow by whole lines."""

import os
import resource
import signal

import pytest

from lorary.files import append_line


def test_lines_are_added_below_what_is_there_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    append_line(path, "é")
    append_line(str(path), "b")
    assert path.read_bytes() == "é\nb\n".encode()


def test_a_line_that_does_not_fit_is_an_error(tmp_path):
    """A part of it was written without an error, as on a full disk; a limit of file sizes does the same."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with pytest.raises(OSError, match="File too large"):
            append_line(tmp_path / "log", "x" * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.path.getsize(tmp_path / "log") == 10
