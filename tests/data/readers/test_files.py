import gzip
import json
import lzma

import pytest

from lorary.data.readers.files import open_file
from lorary.errors import DataError

ROWS = [{"input": "a", "target": "1"}, {"input": "ü\u2028b", "target": "2"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
TASK = {"Definition": ["Do it.", "Do that."], "Instances": [{"id": "t-1", "input": "a", "output": ["1"]}]}


def save(tmp_path, content, name="data"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_lines_are_read_whatever_packs_them_and_whatever_the_file_is_called(tmp_path, pack):
    source = open_file(save(tmp_path, pack(LINES.encode())))
    assert list(source.records) == [("line 1", ROWS[0]), ("line 2", ROWS[1])]


def test_blank_lines_count_and_are_passed_over(tmp_path):
    source = open_file(save(tmp_path, "\ufeff\n" + LINES.replace("\n", "\r\n\r\n")))
    assert [place for place, _ in source.records] == ["line 2", "line 4"]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_of_rows_is_numbered(tmp_path, indent):
    source = open_file(save(tmp_path, json.dumps(ROWS, indent=indent)))
    assert list(source.records) == [("row 1", ROWS[0]), ("row 2", ROWS[1])]


@pytest.mark.parametrize("indent", [None, 4])
def test_a_task_file_gives_its_first_definition_and_its_instances(tmp_path, indent):
    source = open_file(save(tmp_path, lzma.compress(json.dumps(TASK, indent=indent).encode())))
    assert (source.definition, source.format) == ("Do it.", "natural-instructions")
    assert list(source.records) == [("instance 1 ('t-1')", TASK["Instances"][0])]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_broken_line_is_one_bad_record_wherever_it_stands(tmp_path, place):
    lines = LINES.split("\n")[:2]
    lines.insert(place, '{"input": "c", ')
    found = list(open_file(save(tmp_path, "\n".join(lines))).records)
    assert [isinstance(row, ValueError) for _, row in found] == [at == place for at in range(3)]
    assert found[place].place == f"line {place + 1}"
    said = "not valid JSON: Expecting property name enclosed in double quotes at character "
    assert str(found[place].row) == f"{said}16, where the line ends"


@pytest.mark.parametrize("text", ['[{"input": "a"},\n {"input": "b"', '{\n "input": "a",\n "target": [1, 2'])
def test_json_that_is_cut_short_is_refused_at_one_place(tmp_path, text):
    """Guards messages with two positions, of which one counts from where a value begins."""
    with pytest.raises(DataError) as caught:
        list(open_file(save(tmp_path, text)).records)
    assert f"at character {len(text) + 1}, where the text ends" in str(caught.value)
    assert "(char" not in str(caught.value) and "column" not in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_file_cut_short_is_refused_by_name(tmp_path, pack):
    path = save(tmp_path, pack(LINES.encode() * 50)[:-9], "cut.jsonl.xz")
    with pytest.raises(DataError, match=r"cut\.jsonl\.xz' is corrupt or truncated"):
        list(open_file(path).records)


def test_a_file_damaged_inside_is_refused_by_name(tmp_path):
    packed = bytearray(lzma.compress(LINES.encode() * 50))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(DataError, match="bad' is corrupt or truncated"):
        list(open_file(save(tmp_path, bytes(packed), "bad")).records)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: it must have at least one row"),
        (" \n\n", "is empty"),
        (
            "hello\nworld\n",
            'must be JSON lines or one JSON document, .*; a plain text is a row {"text": "…"}',
        ),
        (json.dumps(TASK)[:-3], "but is neither"),
        (json.dumps(TASK, indent=1)[:-9], "but is neither"),
        ("[" * 100_000, "but is neither"),
        ('"text"', "found one JSON value with 'text'"),
        (json.dumps({"Definition": ["x"], "Instances": "y"}), "'Instances' must be a list, not str"),
        (json.dumps({"Definition": [], "Instances": []}), "'Definition' must be text"),
        ('{"input": "\xe9"}'.encode("latin-1"), "must be UTF-8 text"),
    ],
)
def test_a_file_that_is_nothing_readable_is_refused_by_name(tmp_path, content, message):
    path = save(tmp_path, content)
    with pytest.raises(DataError, match=message) as refusal:
        list(open_file(path).records)
    assert str(path) in str(refusal.value)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no task file '.*none'"):
        open_file(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder: name one file in it"):
        open_file(tmp_path)
