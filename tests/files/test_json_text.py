import json

import pytest

from lorary.errors import FormatError
from lorary.files import dump_json, parse_json_object
from lorary.files.json_text import parse_json
from lorary.files.quoting import is_visible


def test_an_object_reads_back_as_written():
    value = {"name": "詩", "numbers": [1, 2.5], "none": None}
    assert parse_json_object(dump_json(value).encode(), "x.json") == value


def test_what_json_does_not_have_is_refused_unless_it_is_let_through():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json([float("nan")])
    assert dump_json([float("nan")], allow_nan=True).split() == ["[", "NaN", "]"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "be a JSON file"),
        (b'{"a": ', "be a JSON file"),
        (b"\x80\x04\xff\xfe", "be a JSON file"),
        (b"[" * 100_000, "be a JSON file"),
        (b"[" * 101 + b"]" * 101, "nests too deeply: at most 100 levels"),
        (b'{"a": 1, "a": 2}', "key 'a' is repeated"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "number 1e999 is out of range"),
        (b'{"a": "x\\ud800y"}', "half of a surrogate pair is in"),
        (b'{"\\udc00": 1}', "half of a surrogate pair is in"),
        (b'{"a": ' + b"9" * 5000 + b"}", "be a JSON file"),
        (b'"' + b"x" * 10_000 + b'"', "hold a JSON object"),
        (b"[1]", r"hold a JSON object, found \[1\]"),
    ],
)
def test_what_is_no_sound_json_object_is_refused_with_its_path(content, message):
    path = "folder/x.json"
    with pytest.raises(
        FormatError, match=f"^'{path}' .*{message}.*fetch or write it again|^'{path}' {message}"
    ) as found:
        parse_json_object(content, path)
    assert len(str(found.value)) < 800


def test_whole_surrogate_pairs_and_a_byte_order_mark_are_read():
    assert parse_json(b'\xef\xbb\xbf["\\ud83d\\ude00", "\\\\ud800"]', "x") == ["😀", "\\ud800"]


def test_escaped_json_shows_nothing_unseen_and_keeps_its_value():
    value = {"name": "a\x1b[31m\x9b\u202e\u200b\U000e0041 é 漢 😀 \u200d", "\ud800": ["\x7f", 1.5]}
    text = dump_json(value)
    assert json.loads(text) == value
    assert all(is_visible(character) or character == "\n" for character in text)
    assert "é 漢 😀" in text


def test_a_key_that_stands_twice_among_many_is_found_in_one_pass():
    """Guards a hang: each key was counted among all others."""
    keys = [f'"{number}": 0' for number in range(100_000)]
    with pytest.raises(FormatError, match="key '99999' is repeated"):
        parse_json(("{" + ", ".join([*keys, keys[-1]]) + "}").encode(), "x")


@pytest.mark.parametrize("content", ["[" + "0," * 300_001 + "0]", '{"a": [' + '{"b": []},' * 150_001 + "0]}"])
def test_too_many_values_are_refused(content):
    with pytest.raises(FormatError, match=r"holds too many values: at most 300000 .*LORARY_MAX_JSON_VALUES"):
        parse_json(content.encode(), "x")
