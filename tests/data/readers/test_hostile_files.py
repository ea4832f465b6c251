"""Task files of strangers: each hostile one is refused at once, within limits, by an error of ours."""

import gzip
import json
import lzma
import os
import re
import socket
import subprocess
import sys
import time
import zlib

import pytest

from lorary.data.readers import read_task
from lorary.data.readers.files import open_file
from lorary.errors import DataError

ROW = {"input": "a", "target": "b"}
LINE = json.dumps(ROW).encode() + b"\n"
DEEP = b"[" * 10**5 + b"]" * 10**5

CONTENTS = {
    "a deep value in an unused column": b'{"input": "a", "target": "b", "x": ' + DEEP + b"}\n",
    "a deep list": DEEP,
    "a deep row in a list": b"[" + json.dumps(ROW).encode() + b"," + DEEP + b"]",
    "a huge integer": b'{"input": "a", "target": ' + b"9" * 10**6 + b"}\n",
    "half a surrogate pair": b'{"input": "a\\ud800", "target": "b"}\n',
    "half a pair in an answer": b'{"input": "a", "target": ["b", "\\udfff"]}\n',
    "half a pair in a list": b'[{"input": "a\\ud800", "target": "b"}]',
    "half a pair in a definition": b'{"Definition": "\\ud800", "Instances": [{"input": "a", "output": "b"}]}',
    "half a pair in an instance": b'{"Definition": "x", "Instances": [{"input": "a", "output": "\\ud800"}]}',
    "half a pair in a message": b'{"messages": [{"role": "user", "content": "\\ud800"}, '
    b'{"role": "assistant", "content": "x"}]}\n',
    "a role that is a list": b'{"messages": [{"role": [], "content": "x"}]}\n',
    "messages that nest": b'{"messages": [[[[]]]]}\n',
    "a field of escapes": b'{"\\u001b[2J": 1, "input": "a"}\n',
    "fields by the hundred thousand": json.dumps({f"f{number}": 1 for number in range(10**5)}).encode(),
    "Latin-1": '{"input": "\xe9", "target": "b"}\n'.encode("latin-1"),
    "Latin-1 in a list": '[{"input": "\xe9", "target": "b"}]'.encode("latin-1"),
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "UTF-16 in a list": json.dumps([ROW]).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(ROW).encode("utf-16-le"),
    "bytes": bytes(range(256)) * 1000,
    "zeros": bytes(10**6),
    "blank lines by the million": b"\n" * (2 * 10**6),
    "a list cut short": json.dumps([ROW] * 1000).encode()[:-20],
    "a task cut short": json.dumps({"Definition": "x", "Instances": [ROW] * 1000}).encode()[:-20],
    "instances that are an object": b'{"Definition": "x", "Instances": {"a": 1}}',
    "a definition that is a number": b'{"Definition": 3, "Instances": []}',
    "more after a list": json.dumps([ROW]).encode() + b" x",
    "a choice of another type": b'{"question": "q", "choices": ["a", 3], "answer": 0}\n',
    "a truth value as index": b'{"question": "q", "choices": ["a", "b"], "answer": true}\n',
    "a huge index": b'{"question": "q", "choices": ["a", "b"], "answer": "' + b"1" * 10**5 + b'"}\n',
    "labels of odd types": b'{"question": "q", "choices": {"text": ["a"], "label": [[]]}, "answerKey": {}}\n',
    "an object where a text belongs": b'{"ctx_a": "a", "ctx_b": {}, "endings": ["a", "b"], "label": 0}\n',
    "a packed file cut short": gzip.compress(LINE * 1000)[:-20],
    "packed noise": b"\x1f\x8b" + os.urandom(1000),
    "packed noise of another kind": b"\xfd7zXZ\x00" + os.urandom(1000),
    "noise after a packed file": lzma.compress(LINE) + b"noise",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_hostile_file_is_refused_soon_and_shortly(tmp_path, content):
    path = tmp_path / "task.jsonl"
    path.write_bytes(content)
    begun = time.thread_time()
    with pytest.raises(DataError) as caught:
        read_task(path)
    assert time.thread_time() - begun < 5
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1200 and str(caught.value).isprintable()


def test_the_place_of_a_wrong_byte_is_named(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_bytes(LINE * 20_000 + LINE.replace(b"a", b"\xe9") + LINE)
    with pytest.raises(DataError, match=r"line 20001 must be UTF-8 text.* byte 0xe9 in .*: save it as UTF-8"):
        read_task(path)
    path.write_bytes(json.dumps(ROW).encode("utf-16"))
    with pytest.raises(DataError, match="must be UTF-8 text, but begins like UTF-16"):
        read_task(path)


def test_what_nobody_reads_may_be_anything(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_bytes(b'{"input": "a\\u001b\\u0000", "target": "b", "x": [NaN, 1e999, -Infinity], "x": 2}\n')
    (example,) = [example for part in read_task(path).splits.values() for example in part]
    assert example.input == "a\x1b\0"


def test_lines_end_as_on_any_system(tmp_path):
    path = tmp_path / "task.jsonl"
    for end in (b"\r", b"\r\n", b"\n"):
        path.write_bytes(end.join(json.dumps({**ROW, "input": str(n)}).encode() for n in range(30)) + end)
        assert read_task(path).num_examples == 30
    path.write_bytes(b"\r".join([LINE.strip()] * 3 + [b"{"]))
    with pytest.raises(DataError, match="line 4: not valid JSON"):
        read_task(path)


@pytest.mark.parametrize("put", ["pipe", "device", "socket", "loop", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, put):
    """Guards against waiting forever for what a named pipe or a device gives."""
    monkeypatch.chdir(tmp_path)
    if put == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x")
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda name: os.symlink(name, name)}
    make["device"] = lambda name: os.symlink("/dev/zero", name)
    make.get(put, lambda name: None)("x")
    with pytest.raises(DataError, match=r"must be a (regular )?file"):
        read_task("x")


def write_sparse(path, beginning):
    """Write a file of four gigabytes that takes no room."""
    with open(path, "wb") as file:
        file.write(beginning)
        file.truncate(4 * 10**9)


def write_gzip(path, beginning, filling):
    """Write ten gigabytes of one character, packed to a thousandth."""
    member = gzip.compress(filling * 10**8, compresslevel=9)
    path.write_bytes(gzip.compress(beginning) + member * 100)


def write_xz(path, beginning, filling):
    member = lzma.compress(filling * 10**8, preset=0)
    path.write_bytes(lzma.compress(beginning) + member * 100)


def write_greedy_xz(path):
    """Write an xz file that asks for a dictionary of four gigabytes."""
    content = bytearray(lzma.compress(LINE))
    length = (content[12] + 1) * 4
    assert content[14] == 0x21, (
        "the filter is LZMA2, then come one byte of properties and the dictionary's size"
    )
    content[16] = 40
    content[12 + length - 4 : 12 + length] = zlib.crc32(content[12 : 12 + length - 4]).to_bytes(4, "little")
    path.write_bytes(content)


# What is written, and what the refusal says.
BOMBS = {
    "a line of gigabytes": (lambda path: write_sparse(path, b'{"input": "'), "LORARY_MAX_ROW_MB"),
    "a second line of gigabytes": (lambda path: write_sparse(path, LINE + b'{"x": "'), "LORARY_MAX_ROW_MB"),
    "a list of one huge text": (lambda path: write_sparse(path, b'["'), "LORARY_MAX_ROW_MB"),
    "a task of one huge text": (lambda path: write_sparse(path, b'{"Definition": "'), "LORARY_MAX_ROW_MB"),
    "gigabytes of nothing": (lambda path: write_sparse(path, b""), "must be JSON lines"),
    "a row of many values": (lambda path: path.write_bytes(b"[[" + b"[]," * 10**7), "LORARY_MAX_ROW_MB"),
    "a line of many values": (
        lambda path: path.write_bytes(LINE + b'{"input": [' + b"[]," * 2 * 10**6 + b"[]]}"),
        "must have|must be",
    ),
    "packed blank lines": (lambda path: write_gzip(path, b"", b"\n"), "LORARY_MAX_UNPACK_RATIO"),
    "a row and packed blank lines": (lambda path: write_gzip(path, LINE, b"\n"), "lines are blank"),
    "a packed line": (lambda path: write_gzip(path, LINE, b"x"), "LORARY_MAX_ROW_MB"),
    "a list of packed spaces": (lambda path: write_gzip(path, b"[", b" "), "LORARY_MAX_UNPACK_RATIO"),
    "packed zeros": (lambda path: write_xz(path, b"", b"\0"), "must be JSON lines"),
    "packed spaces": (lambda path: write_xz(path, b"", b" "), "LORARY_MAX_UNPACK_RATIO"),
    "a huge dictionary": (write_greedy_xz, "LORARY_MAX_UNPACK_MB"),
}


@pytest.mark.parametrize(("write", "message"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_in_little_time_and_memory(tmp_path, write, message):
    """Guards against files of a few kilobytes that fill memory, or keep a machine busy."""
    path = tmp_path / "task.jsonl"
    write(path)
    said, seconds, megabytes = read_apart(path)
    assert re.search(message, said), said
    assert seconds < 5 and megabytes < 700
    assert len(said) < 1200 and said.isprintable()


def test_limits_can_be_raised(tmp_path, monkeypatch):
    path = tmp_path / "task.jsonl"
    path.write_bytes(json.dumps({**ROW, "input": "a" * 2000}).encode() + b"\n")
    monkeypatch.setenv("LORARY_MAX_ROW_MB", "0.001")
    with pytest.raises(DataError, match=r"too long .*at most 0.001 megabytes of one row"):
        read_task(path)
    monkeypatch.setenv("LORARY_MAX_ROW_MB", "0.01")
    assert read_task(path).num_examples == 1
    monkeypatch.setenv("LORARY_MAX_TASK_GB", "0.000001")
    with pytest.raises(DataError, match=r"is too large: at most 1e-06 gigabytes.*LORARY_MAX_TASK_GB"):
        read_task(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("indent", [None, 1])
def test_rows_of_a_long_list_or_task_are_read_as_whole_json_is(tmp_path, pack, indent):
    rows = [{"input": f"ü {n} " + "x" * (n % 300), "output": [str(n), "\u2028"]} for n in range(3000)]
    path = tmp_path / "rows.json"
    path.write_bytes(pack(json.dumps(rows, indent=indent, ensure_ascii=False).encode()))
    assert [record.row for record in open_file(path).records] == rows
    for order in (["Definition", "Instances"], ["Instances", "Definition"]):
        task = {"Categories": ["x"], "Definition": ["Do."], "Instances": rows, "License": None}
        ordered = {"Categories": 0, **{key: task[key] for key in order}, "License": {"a": [1.5e3, True]}}
        path.write_bytes(pack(json.dumps(ordered, indent=indent).encode()))
        source = open_file(path)
        assert (source.definition, [record.row for record in source.records]) == ("Do.", rows)


def read_apart(path):
    """Read a file in a process of its own; give what it said, its seconds and its memory in megabytes."""
    code = (
        "import resource, sys, time\n"
        "from lorary.data.readers import read_task\n"
        "from lorary.errors import DataError\n"
        "begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_task(sys.argv[1])\n    said = 'nothing'\n"
        "except DataError as error:\n    said = str(error)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(said, time.process_time() - begun, (after - before) / 1000, sep='\\t')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    said, seconds, megabytes = done.stdout.strip().split("\t")
    return said, float(seconds), float(megabytes)
