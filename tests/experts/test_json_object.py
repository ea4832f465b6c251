import pytest
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError
from lorary.experts.json_object import dump_json_object, read_json_object


def test_an_object_reads_back_as_written(tmp_path):
    value = {"name": "詩", "numbers": [1, 2.5], "none": None}
    (tmp_path / "x.json").write_bytes(dump_json_object(value))
    assert read_json_object(LocalFileSystem(), str(tmp_path / "x.json")) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a JSON file"),
        (b'{"a": ', "must be a JSON file"),
        (b"\x80\x04\xff\xfe", "must be a JSON file"),
        (b"[" * 100_000, "must be a JSON file"),
        (b"[1]", "must hold a JSON object, found list"),
    ],
)
def test_what_is_no_json_object_is_refused_with_its_path(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"'{path}' {message}.*fetch or write it again"):
        read_json_object(LocalFileSystem(), str(path))
