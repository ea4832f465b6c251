"""CSV, TSV and Parquet give the rows that JSON lines give."""

import gzip

import pyarrow
import pyarrow.parquet
import pytest

from lorary.data.readers.files import open_file
from lorary.data.readers.read import read_task
from lorary.errors import DataError

ROWS = [{"question": 'He said "1, 2"?', "answer": "a\nb"}, {"question": "ü;x", "answer": "c"}]


def save(tmp_path, content, name="task.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path):
    return [record.row for record in open_file(path).records]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("separator", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"), (",", "a.CSV.gz")]
)
def test_a_table_is_read_whatever_separates_and_packs_it(tmp_path, separator, name, end):
    lines = [f"question{separator}answer", f'"He said ""1, 2""?"{separator}"a\nb"', f'"ü;x"{separator}c', ""]
    content = ("\ufeff" + end.join(lines)).encode()
    path = save(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name)
    assert rows_of(path) == ROWS
    assert [record.place for record in open_file(path).records] == ["line 2", "line 4"]
    assert read_task({"train": path}).split("train")[1].targets == ("c",)


def test_a_cell_without_text_has_no_value(tmp_path):
    path = save(tmp_path, "instruction,input,output\nGreet.,,Hi\n")
    assert rows_of(path) == [{"instruction": "Greet.", "input": None, "output": "Hi"}]
    assert read_task(path).formats == ("alpaca",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,,b\n1,2,3\n", "must begin with a line of column names, each once"),
        ("a,a\n1,2\n", "must begin with a line of column names, each once"),
        ("question,answer\nx\n", "line 2: the row must have 2 cells, as the first line has, found 1"),
        ('question,answer\n"x,y\n', "line 2: not a row of a table"),
        ("question,answer\n\xe9,y\n".encode("latin-1"), "line 2 must be UTF-8 text.* at offset 16: save"),
        ("question,answer\n", "it has no rows"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    path = save(tmp_path, content)
    with pytest.raises(DataError, match=message):
        read_task(path)


def test_a_row_whose_quotes_never_end_is_refused_within_limits(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_MAX_ROW_MB", "0.2")
    path = save(tmp_path, 'question,answer\n"' + "x\n" * 10**6)
    with pytest.raises(DataError, match=r"a row is too long: at most 0\.2 megabytes"):
        read_task(path)
    assert len(rows_of(save(tmp_path, "a,b\n" + "x" * 150_000 + ",y\n"))) == 1


def write_parquet(tmp_path, rows, **options):
    path = tmp_path / "task.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, **options)
    return path


def test_parquet_gives_what_was_written(tmp_path):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    rows = [{"messages": messages, "system": None, "n": number} for number in range(600)]
    path = write_parquet(tmp_path, rows)
    assert rows_of(path) == rows
    task = read_task(path)
    assert (task.formats, task.num_duplicates, task.unused) == (("messages",), 599, ("n",))


def test_a_damaged_parquet_file_is_refused_by_name(tmp_path):
    path = write_parquet(tmp_path, ROWS)
    content = path.read_bytes()
    for damaged in (content[:-9], content[:4], content[:4] + bytes(100) + content[104:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"task\.parquet' cannot be read as a Parquet file \("):
            read_task(path)


@pytest.mark.parametrize("use_dictionary", [False, True])
def test_a_parquet_bomb_is_refused(tmp_path, use_dictionary):
    rows = [{"question": "x" * 10**6, "answer": "y"}] * 150
    path = write_parquet(tmp_path, rows, use_dictionary=use_dictionary, compression="zstd")
    with pytest.raises(DataError, match=r"unpacks to far more than it is: .*LORARY_MAX_UNPACK_RATIO"):
        read_task(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer, not the data"),
        (b"PK\x03\x04rest", "is a zip archive .*: unpack it"),
        (b"\x28\xb5\x2f\xfdrest", "is packed with zstd"),
        (b"\n<!DOCTYPE html><p>", "is a web page"),
    ],
)
def test_what_stands_in_place_of_a_file_is_named(tmp_path, content, message):
    for name in ("task.jsonl", "task.csv", "task.parquet"):
        with pytest.raises(DataError, match=message):
            open_file(save(tmp_path, content, name))
