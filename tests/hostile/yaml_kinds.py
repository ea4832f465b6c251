"""Hostile YAML: what it has beyond JSON."""

from pathlib import Path
from random import Random

from tests.hostile.surroundings import Surroundings

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
)
MERGES = "\n".join(
    ["m0: &m0 {a: 1}"]
    + [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}], k{n}: 1}}" for n in range(1, 9)]
)
DOCUMENTS = (
    BOMB,
    MERGES,
    "!!python/object/apply:os.system ['touch ../elsewhere/pwned']",
    "a: !!python/name:os.system",
    "a: !!python/object/new:subprocess.Popen [[touch, pwned]]",
    "a: !custom 1",
    "a: &a [*a]",
    "a: &a {b: *a}",
    "? [1, 2]\n: 3",
    "? {a: 1}\n: 3",
    "{a: 1, a: 2}",
    "--- 1\n--- 2",
    "date: 2024-13-45",
    "time: 2001-12-15T99:99:99Z",
    "a: 1:99:99:99",
    "a: 0b" + "1" * 10_000,
    "a: " + "9" * 10_000,
    "a: !!binary '****'",
    "a: !!int 'x'",
    "a: !!float ''",
    "a: !!timestamp 'x'",
    "a: !!set {x, y}",
    "a: !!omap [x: 1]",
    "a: .inf\nb: .nan",
    "a: *unknown",
    "%YAML 9.9\n---\na: 1",
    "%TAG ! tag:x,2000:\n---\na: !x 1",
    "a:\n\t- b",
    "a: |\n" + " x\n" * 5000,
    "- " * 3000 + "x",
    "[" * 20_000,
    "{a: " * 20_000,
    "'" + "a" * 300_000,
    "yes: no\noff: on\nnull: ~",
    "1: a\n2.5: b\ntrue: c\n2020-01-01: d",
    "a: 'x\x00y'",
    "\x1b[31m: \x07",
    "a: '\ud800'",
)


def replace_document(path: Path, rng: Random, around: Surroundings) -> None:
    """Be one of these documents."""
    path.write_bytes(rng.choice(DOCUMENTS).encode("utf-8", "surrogatepass"))


def spoil_document(path: Path, rng: Random, around: Surroundings) -> None:
    """Be what it was, with one of them before, behind or within."""
    text = path.read_text()
    new = rng.choice(DOCUMENTS)
    lines = text.splitlines()
    number = rng.randrange(len(lines))
    key = lines[number].partition(":")[0]
    kinds = (f"{text}\n{new}\n", f"{new}\n{text}\n")
    within = "\n".join([*lines[:number], f"{key}: {new.partition(': ')[2] or new}", *lines[number + 1 :]])
    path.write_bytes(rng.choice((*kinds, within, within)).encode("utf-8", "surrogatepass"))


KINDS = {"YAML document": replace_document, "YAML beside": spoil_document}
