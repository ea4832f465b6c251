"""Result files of any content are read or refused in a short line."""

import os

import pytest

from lorary.errors import FormatError
from lorary.evaluation import Result


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b'{"lorary_result": 1}',
        b'{"lorary_result": true, "scores": [], "headers": [], "attachments": {}}',
        b'{"lorary_result": 1, "scores": {"a": 1}, "headers": [], "attachments": {}}',
        b'{"lorary_result": 1, "scores": [{"task": "\\ud800", "route": "a", "metric": "loss", "values": [1]}]'
        b', "headers": [], "attachments": {}}',
        b'{"lorary_result": 1, "scores": [{"task": "a", "route": "a", "metric": "x", "values": [1]}], '
        b'"headers": [], "attachments": {}}',
        b'{"lorary_result": 1, "scores": [], "headers": [], "attachments": {"a": ' + b"9" * 5000 + b"}}",
        b'{"lorary_result": 1, "lorary_result": 1}',
    ],
)
def test_a_hostile_result_file_is_refused(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(FormatError) as found:
        Result.from_json(path)
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("place", ["/dev/zero", "fifo"])
def test_a_result_is_read_from_a_regular_file_only(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with pytest.raises(FormatError, match="must be a regular file"):
        Result.from_json(place)


def test_a_result_beyond_the_limit_is_refused_with_what_raises_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_MAX_RESULT_MB", "0.0001")
    Result.from_records([("task", "route", "loss", 1.0)], {}).to_json(tmp_path / "result.json")
    with pytest.raises(FormatError, match="LORARY_MAX_RESULT_MB"):
        Result.from_json(tmp_path / "result.json")
