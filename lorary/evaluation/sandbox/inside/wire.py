"""Frames of JSON between processes that do not trust each other, and Python values as JSON.

Only values of known types are sent. Any other object stays in its process, and the other process gets
its number. Unlike with ``pickle``, the receiver of a frame runs no code of the sender.
"""

import json
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from numbers import Integral
from typing import Any

Refer = Callable[[object], Any]
"""Makes the JSON that represents an object without a known type."""
Resolve = Callable[[int, str], Any]
"""Finds the representation of an object, from its number and the name of its type."""

# In bytes: of one frame.
LONGEST = 16 * 2**20
# In place of an object's number, for Python's own types and functions, which only tests may send.
BUILT_IN = -1
# Levels of nesting.
DEEPEST = 60
# Larger integers are sent as hexadecimal text, which has no limit of digits.
LARGEST = 2**53


class Broken(Exception):
    """The other process has ended, or has sent something that is not a frame."""


def send(fd: int, content: Any) -> None:
    """Write one frame.

    Raises:
        ValueError: if it is too long.
        Broken: if the other process has ended.
    """
    data = json.dumps(content).encode()
    if len(data) > LONGEST:
        raise ValueError(f"a value of more than {LONGEST // 2**20} MB")
    data = len(data).to_bytes(4, "big") + data
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        raise Broken("the process has ended") from error


def receive(fd: int) -> Any:
    """Read one frame.

    Raises:
        Broken: if there is none, or it is not JSON.
    """
    length = int.from_bytes(_read(fd, 4), "big")
    if length > LONGEST:
        raise Broken("a frame that is too long")
    try:
        return json.loads(_read(fd, length))
    except (ValueError, RecursionError) as error:
        raise Broken("a frame that is not JSON") from error


def _read(fd: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(fd, min(length, 2**20))
        if not part:
            raise Broken("the process has ended")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def encode(value: object, refer: Refer, depth: int = 0) -> Any:
    """Turn a value into JSON; subclasses of known types are sent as these types, by their content."""
    if value is None or isinstance(value, bool):
        return value
    if depth > DEEPEST:
        raise ValueError(f"a value of more than {DEEPEST} levels")
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value, lambda part: encode(part, refer, depth + 1))
    return refer(value)


def decode(content: Any, resolve: Resolve) -> Any:
    """Turn JSON into the value.

    Raises:
        Broken: if it does not represent a value.
    """
    if isinstance(content, list):
        return [decode(part, resolve) for part in content]
    if not isinstance(content, dict):
        return content
    try:
        kind, value = content["type"], content["value"]
        if kind == "object":
            return resolve(int(value), str(content["name"]))
        return _READERS[kind](value, lambda part: decode(part, resolve))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise Broken("a value that cannot be read") from error


def describe_object(number: int, name: str) -> dict[str, Any]:
    """Write the JSON of an object that stays where it is."""
    return {"type": "object", "value": number, "name": name}


def _tag(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "value": value}


def _write_int(value: Any, _: Any) -> Any:
    number = int(value)
    return number if abs(number) < LARGEST else _tag("int", hex(number))


def _write_items(kind: str, base: Any) -> Callable[[Any, Any], Any]:
    return lambda value, write: _tag(kind, [write(part) for part in base.__iter__(value)])


def _write_pairs(kind: str) -> Callable[[Any, Any], Any]:
    return lambda value, write: _tag(kind, [[write(k), write(v)] for k, v in dict.items(value)])


# The methods are those of the known types themselves: a subclass may have others. Order matters.
_WRITERS: list[tuple[type, Callable[[Any, Any], Any]]] = [
    (str, lambda value, _: str.__str__(value)),
    (Integral, _write_int),
    (float, lambda value, _: float.__float__(value)),
    (complex, lambda value, _: _tag("complex", [value.real, value.imag])),
    (list, lambda value, write: [write(part) for part in list.__iter__(value)]),
    (tuple, _write_items("tuple", tuple)),
    (set, _write_items("set", set)),
    (frozenset, _write_items("frozenset", frozenset)),
    (deque, _write_items("deque", deque)),
    (Counter, _write_pairs("Counter")),
    (OrderedDict, _write_pairs("OrderedDict")),
    (dict, _write_pairs("dict")),
    (bytes, lambda value, _: _tag("bytes", bytes.hex(value))),
    (bytearray, lambda value, _: _tag("bytearray", bytearray.hex(value))),
    (range, lambda value, _: _tag("range", [hex(n) for n in (value.start, value.stop, value.step)])),
    (Decimal, lambda value, _: _tag("Decimal", Decimal.__str__(value))),
    (Fraction, lambda value, _: _tag("Fraction", [hex(value.numerator), hex(value.denominator)])),
    (datetime, lambda value, _: _tag("datetime", datetime.isoformat(value))),
    (date, lambda value, _: _tag("date", date.isoformat(value))),
    (time, lambda value, _: _tag("time", time.isoformat(value))),
    (timedelta, lambda value, _: _tag("timedelta", [value.days, value.seconds, value.microseconds])),
]


def _read_items(kind: Any) -> Callable[[Any, Any], Any]:
    return lambda value, read: kind(map(read, value))


def _read_pairs(kind: Any) -> Callable[[Any, Any], Any]:
    return lambda value, read: kind({read(k): read(v) for k, v in value})


_READERS: dict[str, Callable[[Any, Any], Any]] = {
    "int": lambda value, _: int(value, 16),
    "complex": lambda value, _: complex(*value),
    "tuple": _read_items(tuple),
    "set": _read_items(set),
    "frozenset": _read_items(frozenset),
    "deque": _read_items(deque),
    "Counter": _read_pairs(Counter),
    "OrderedDict": _read_pairs(OrderedDict),
    "dict": _read_pairs(dict),
    "bytes": lambda value, _: bytes.fromhex(value),
    "bytearray": lambda value, _: bytearray.fromhex(value),
    "range": lambda value, _: range(*(int(n, 16) for n in value)),
    "Decimal": lambda value, _: Decimal(value),
    "Fraction": lambda value, _: Fraction(*(int(n, 16) for n in value)),
    "datetime": lambda value, _: datetime.fromisoformat(value),
    "date": lambda value, _: date.fromisoformat(value),
    "time": lambda value, _: time.fromisoformat(value),
    "timedelta": lambda value, _: timedelta(*value),
}
