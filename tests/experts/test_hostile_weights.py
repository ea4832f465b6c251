"""Weights files of any content are refused in a short line."""

import json
import time

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from lorary.errors import FormatError
from lorary.experts import read_peft


def build_file(header, numbers=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + numbers


def describe(name="base_model.model.q.lora_A.weight", dtype="F32", shape=(1, 4), offsets=(0, 16)):
    return {name: {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


WEIGHTS = {
    **{
        f"numbers of {dtype}": build_file(describe(dtype=dtype, offsets=(0, 4 * size)), bytes(4 * size))
        for dtype, size in [("F8_E4M3", 1), ("F8_E8M0", 1), ("I64", 8), ("BOOL", 1), ("C64", 8), ("U16", 2)]
    },
    "numbers of half a byte": build_file(describe(dtype="F4", offsets=(0, 2)), bytes(2)),
    "numbers of three quarters of a byte": build_file(describe(dtype="F6_E2M3", offsets=(0, 3)), bytes(3)),
    "a dtype that is a list": build_file(describe(dtype=[]), bytes(16)),
    "a huge dtype": build_file(describe(dtype="\x1b" * 10**6), bytes(16)),
    "no numbers": build_file(describe(shape=(0, 4), offsets=(0, 0))),
    "no dimension": build_file(describe(shape=(), offsets=(0, 4)), bytes(4)),
    "a shape that overflows": build_file(describe(shape=(2**40, 2**40)), bytes(16)),
    "a shape that overflows beside a zero": build_file(describe(shape=(2**63, 2, 0), offsets=(0, 0))),
    "a length beyond 64 bits": build_file(describe(shape=(2**64 - 1, 0), offsets=(0, 0))),
    "a negative length": build_file(describe(shape=(-1, -4)), bytes(16)),
    "a truth value as length": build_file(describe(shape=(True, 4)), bytes(16)),
    "a hundred thousand dimensions": build_file(describe(shape=[1] * 100_000, offsets=(0, 4)), bytes(4)),
    "places that overlap": build_file({**describe(), **describe("b")}, bytes(16)),
    "places with a gap": build_file({**describe(), **describe("b", offsets=(20, 36))}, bytes(36)),
    "bytes that belong to nobody": build_file(describe(), bytes(17)),
    "huge places": build_file(describe(offsets=(2**70, 2**70 + 16)), bytes(16)),
    "a name twice": build_file(
        json.dumps(describe()).encode()[:-1] + b", " + json.dumps(describe()).encode()[1:], bytes(16)
    ),
    "half a surrogate pair": build_file(b'{"\\ud800": ' + json.dumps(describe()).encode()[40:], bytes(16)),
    "no name": build_file(describe(""), bytes(16)),
    "control characters": build_file(describe("base_model.model.\x1b\n.lora_A.weight"), bytes(16)),
    "metadata of another type": build_file({"__metadata__": {"a": [1]}, "x": 3}),
    "metadata that is a number": build_file({"__metadata__": 7, **describe()}, bytes(16)),
    "deep nesting": build_file(b'{"a":' * 100_000),
    "a list": build_file([describe()], bytes(16)),
    "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
    "a header of 2^64 - 1 bytes": b"\xff" * 8 + b"{}",
    "a header of zero bytes": bytes(8),
    "nothing": b"",
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "a hundred thousand tensors": build_file(
        {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(100_000)}
    ),
    "a name of a megabyte": build_file(
        describe("base_model.model." + "q." * 500_000 + "lora_A.weight"), bytes(16)
    ),
    "text": b"a line of text\n" * 1000,
}


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS)
def test_hostile_weights_are_refused_soon_and_shortly(adapter, content):
    (adapter / "adapter_model.safetensors").write_bytes(content)
    fs = MemoryFileSystem()
    for file in adapter.iterdir():
        fs.pipe_file(f"/{adapter.name}/{file.name}", file.read_bytes())
    begun = time.thread_time()
    for folder in (adapter, f"memory://{adapter.name}"):
        with pytest.raises(FormatError) as caught:
            read_peft(folder)
        assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()
    assert time.thread_time() - begun < 5


def test_a_header_beyond_the_limits_is_refused_unread(adapter):
    with open(adapter / "adapter_model.safetensors", "wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)
    with pytest.raises(FormatError, match=r"is too long: at most 32 megabytes.*LORARY_MAX_HEADER_MB"):
        read_peft(adapter)


def test_limits_of_weights_can_be_lowered(adapter, edit_tensors, monkeypatch):
    edit_tensors(lambda tensors: tensors.update(x=torch.ones(1, dtype=torch.int8)))
    monkeypatch.setenv("LORARY_MAX_TENSOR_COUNT", "1")
    with pytest.raises(FormatError, match=r"has too many tensors: .*LORARY_MAX_TENSOR_COUNT"):
        read_peft(adapter)
    monkeypatch.setenv("LORARY_MAX_TENSOR_COUNT", "1000")
    monkeypatch.setenv("LORARY_MAX_WEIGHTS_MB", "0.001")
    with pytest.raises(FormatError, match=r"cannot be mapped and is too large: .*LORARY_MAX_WEIGHTS_MB"):
        read_peft(adapter)
