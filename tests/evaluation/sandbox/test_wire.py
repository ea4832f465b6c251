import json
import os

import pytest

from lorary.evaluation.sandbox.inside.wire import LONGEST, Broken, decode, encode, receive, send


def write_raw(data):
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", b"\0\0\0\5[1", b"\0\0\0\2{]", b"\xff\xff\xff\xff[]", b"\0\0\1\0" + b"[" * 256],
    ids=["nothing", "half a length", "half a frame", "no JSON", "too long", "too deep or cut"],
)
def test_broken_frames_are_refused(data):
    with pytest.raises(Broken):
        receive(write_raw(data))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"type": "code", "value": "x"},
        {"type": [], "value": 1},
        {"type": "int", "value": "z"},
        {"type": "set", "value": [[1]]},
        {"type": "dict", "value": [[1]]},
        {"type": "Fraction", "value": ["0x1", "0x0"]},
        {"type": "Decimal", "value": "x"},
        {"type": "range", "value": ["0x0", "0x1", "0x0"]},
        {"type": "timedelta", "value": [10**10]},
        {"type": "object", "value": "x", "name": ""},
        {"type": "bytes", "value": None},
    ],
    ids=str,
)
def test_values_that_are_written_wrongly_are_refused(content):
    with pytest.raises(Broken, match="a value that cannot be read"):
        decode(content, lambda number, name: number)


def test_subclasses_are_sent_by_their_content():
    class Liar(int):
        def __repr__(self):
            return "[]"

    class Text(str):
        def __str__(self):
            return "other"

    class Full(dict):
        def items(self):
            return [("a", 1)]

    content = json.loads(json.dumps(encode([Liar(3), Text("own"), Full()], id)))
    assert decode(content, id) == [3, "own", {}]


def test_a_frame_has_a_largest_size():
    with pytest.raises(ValueError, match="a value of more than 16 MB"):
        send(os.open(os.devnull, os.O_WRONLY), "x" * LONGEST)
