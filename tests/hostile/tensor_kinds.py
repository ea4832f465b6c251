"""Hostile safetensors files: headers that lie about what follows, and numbers that are none."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.contents import join_tensors, split_tensors
from tests.hostile.surroundings import Surroundings
from tests.hostile.value_kinds import CannotApply

DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E4M3", "F4", "X99", "C64", "")
SHAPES = ([], [0], [-1], [1, 0], [2**62, 4], [2**63], [1] * 100, [3.5], ["2"], None, [10**30])
LENGTHS = (0, 1, 7, 2**20, 2**31, 2**32 + 5, 2**62, 2**63 + 9, 2**64 - 1)


def _change_header(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    header, payload = split_tensors(path.read_bytes())
    path.write_bytes(join_tensors(json.dumps(change(json.loads(header))).encode(), payload))


def _draw_tensor(header: dict[str, Any], rng: Random) -> dict[str, Any]:
    names = [name for name in header if name != "__metadata__"]
    if not names:
        raise CannotApply
    return header[rng.choice(names)]


def lie_about_length(path: Path, rng: Random, around: Surroundings) -> None:
    """Say that the header is as long as it is not."""
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", rng.choice((*LENGTHS, len(content), len(content) - 8))) + content[8:])


def lie_about_dtype(path: Path, rng: Random, around: Surroundings) -> None:
    """Call the numbers something else."""

    def change(header: dict[str, Any]) -> dict[str, Any]:
        chosen = [_draw_tensor(header, rng)] if rng.random() < 0.5 else header.values()
        dtype = rng.choice(DTYPES)
        for tensor in chosen:
            if "dtype" in tensor:
                tensor["dtype"] = dtype
        return header

    _change_header(path, change)


def lie_about_shape(path: Path, rng: Random, around: Surroundings) -> None:
    """Give a tensor another shape, some of as many numbers."""

    def change(header: dict[str, Any]) -> dict[str, Any]:
        tensor = _draw_tensor(header, rng)
        shape = tensor["shape"]
        tensor["shape"] = rng.choice((*SHAPES, shape[::-1], [*shape, 1], [1, *shape], [*shape, 2]))
        return header

    _change_header(path, change)


def move_offsets(path: Path, rng: Random, around: Surroundings) -> None:
    """Let tensors overlap, leave gaps, or reach beyond the end."""

    def change(header: dict[str, Any]) -> dict[str, Any]:
        tensor = _draw_tensor(header, rng)
        begin, end = tensor["data_offsets"]
        far = rng.choice((4, -4, 2**31, 2**63, -(2**40), 10**30))
        moved = ([begin + far, end + far], [begin, end + far], [end, begin], [0, end - begin], [begin, begin])
        tensor["data_offsets"] = rng.choice((*moved, [begin], None, "0"))
        return header

    _change_header(path, change)


def move_names(path: Path, rng: Random, around: Surroundings) -> None:
    """Give tensors each other's places, or a name that is none."""

    def change(header: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in header if name != "__metadata__"]
        if not names:
            raise CannotApply
        old, other = rng.choice(names), rng.choice(names)
        if old != other and rng.random() < 0.5:
            header[old], header[other] = header[other], header[old]
            return header
        part = rng.choice(
            ("", "../x", "a\x1b[31m", "__metadata__", old + ".", old.upper(), "x" * 5000, "/", "é")
        )
        header[part] = header.pop(old)
        return header

    _change_header(path, change)


def change_metadata(path: Path, rng: Random, around: Surroundings) -> None:
    """Say other things about the tensors."""

    def change(header: dict[str, Any]) -> dict[str, Any]:
        known = dict(header.get("__metadata__") or {})
        values = ("", "null", "{", "[]", "\x1b[2J", "x" * 100_000, "{}", "1e999", '"a"', "[" * 5000)
        name = rng.choice([*known, "format", "source", "../x"])
        wrong = ({}, None, [], {"a": 1}, {"a": None}, {"format": "tf"})
        whole = rng.random() < 0.2
        return {**header, "__metadata__": rng.choice(wrong) if whole else {**known, name: rng.choice(values)}}

    _change_header(path, change)


def spoil_numbers(path: Path, rng: Random, around: Surroundings) -> None:
    """Make numbers NaN, infinite, zero or huge, some or all of them."""
    header, payload = split_tensors(path.read_bytes())
    tensor = _draw_tensor(json.loads(header), rng)
    begin, end = tensor["data_offsets"]
    if rng.random() < 0.3:
        begin, end = 0, len(payload)
    size = {"F64": 8, "I64": 8, "BF16": 2, "F16": 2, "U8": 1, "I8": 1}.get(tensor["dtype"], 4)
    patterns = (b"\xff", b"\x7f\x80\x00\x00"[::-1], b"\x00", b"\xc0\x7f", b"\x7e", b"\x01", b"\x80")
    pattern = rng.choice(patterns)
    if rng.random() < 0.5 and end - begin > size:
        begin += rng.randrange((end - begin) // size) * size
        end = begin + size
    spoiled = (pattern * (end - begin))[: end - begin]
    path.write_bytes(join_tensors(header, payload[:begin] + spoiled + payload[end:]))


KINDS = {
    "header length": lie_about_length,
    "dtype": lie_about_dtype,
    "shape": lie_about_shape,
    "offsets": move_offsets,
    "tensor names": move_names,
    "metadata": change_metadata,
    "numbers": spoil_numbers,
}
