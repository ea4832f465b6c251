"""Hostile values, and the places within a file's values where they are put."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

NUMBERS = (0, -1, 1, 7, 2**31, -(2**31) - 1, 2**63, 10**30, 0.0, -0.5, 1e308, 1e-320, 64, 1e300)
# Written as they stand: JSON's own writer has no word for them.
TOKENS = ("NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 5000, "-0", "0x10", "1_000", "tru", "'a'")
TEXTS = (
    "",
    " ",
    "a" * 5000,
    "ü" * 300,
    "nul\0nul",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe",
    "one\ntwo\r\nthree\u2028four",
    "\ufeffmark",
    "e\u0301 \u00e9",
    "[bold]markup[/bold] [/] [link=x]",
    "<script>alert(1)</script>",
    "%s%n{0.__class__}$(touch here)`touch here`",
    "-1",
    "1e5",
    "null",
    "__class__",
    "CON",
    "nul.",
    "name ",
    ".hidden",
    "LAW",
    "cuda:99",
    "hf://owner/name",
    "memory://x",
)
# Only to where the contract's own files lie: nothing else may be in reach of what has no guard.
PATHS = (
    "..",
    ".",
    "../law",
    "../../elsewhere",
    "../../elsewhere/notes",
    "../../../elsewhere/secret.txt",
    "../../../../elsewhere",
    "law/../../../elsewhere",
    "~/site-packages",
    "./poetry",
    "a/b",
    "a\\b",
)
PATTERNS = (
    "(a|a)*b",
    "(.*)*(.*)*(.*)*x",
    "((a{1,1000}){1,1000}){1,1000}",
    "(?:" * 200 + ")" * 200,
    "(((.+)+)+)+!",
    "([a-z.0-9_]+)*$!",
    "(",
    "[[a]",
    "(?P<a>.)(?P=b)",
    "^.*$" * 500,
)
NEAR = (
    lambda old: old * 8,
    lambda old: -old,
    lambda old: old + 1,
    lambda old: str(old),
    lambda old: [old],
    lambda old: {"a": old},
    lambda old: not old,
    lambda old: old + "x",
    lambda old: old[:-1],
    lambda old: old.upper(),
    lambda old: float(old),
    lambda old: old[::-1],
    lambda old: old + old,
)
DEPTHS = (50, 99, 150, 1000, 20_000, 100_000)


class Raw(str):
    """Text that is put into a file as it is, not as a JSON string."""

    __slots__ = ()


def draw_value(rng: Random, elsewhere: str) -> Any:
    """Draw a hostile value.

    Args:
        rng: what draws.
        elsewhere: the absolute path of a folder that must not be touched.
    """
    groups = (
        (None, True, False, [], {}, [None], {"": None}, [[]], [0, "a", None]),
        NUMBERS,
        tuple(map(Raw, TOKENS)),
        TEXTS,
        (*PATHS, elsewhere, f"{elsewhere}/secret.txt", f"file://{elsewhere}"),
        PATTERNS,
        (Raw('"\\ud800 half"'), Raw('"\\u0000"'), Raw('"\\u001b[2J"')),
    )
    return rng.choice(rng.choice(groups))


def draw_deep(rng: Random) -> Raw:
    """Draw a value that nests deeply."""
    depth = rng.choice(DEPTHS)
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    return Raw(
        opened * depth
        + rng.choice(("", "1")) * (opened[-1] == "[")
        + "1" * (opened[-1] == ":")
        + closed * depth
    )


def draw_wide(rng: Random) -> Raw:
    """Draw a value of very many parts."""
    count = rng.choice((1000, 100_000))
    return rng.choice(
        (
            Raw("[" + ",".join(["1"] * count) + "]"),
            Raw("{" + ",".join(f'"key{n}":1' for n in range(count)) + "}"),
            Raw("{" + ",".join(f'"model.layers.{n}.*q_proj":2' for n in range(count)) + "}"),
            Raw('"' + "x" * (count * 10) + '"'),
            Raw("[" + ",".join(['"../law"'] * count) + "]"),
        )
    )


def list_places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the path of every value, the whole first."""
    yield above
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from list_places(part, (*above, key))


def find(value: Any, place: tuple[Any, ...]) -> Any:
    """Give the value at a path."""
    for key in place:
        value = value[key]
    return value


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """Put a value at a path, in place; gives the whole."""
    if not place:
        return new
    find(value, place[:-1])[place[-1]] = new
    return value


def dump(value: Any) -> str:
    """Write JSON, raw text as it is."""
    raw: list[str] = []

    def hide(part: Any) -> Any:
        if isinstance(part, Raw):
            raw.append(str(part))
            return f"\uf8ff{len(raw) - 1}\uf8ff"
        if isinstance(part, dict):
            return {key: hide(inner) for key, inner in part.items()}
        return [hide(inner) for inner in part] if isinstance(part, list) else part

    text = json.dumps(hide(value), ensure_ascii=False)
    for number, part in enumerate(raw):
        text = text.replace(f'"\uf8ff{number}\uf8ff"', part)
    return text
