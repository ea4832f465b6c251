"""Every kind of hostile input, and choosing one for an input by its number."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from random import Random

from tests.hostile import (
    byte_kinds,
    file_kinds,
    packed_kinds,
    pickle_kinds,
    tensor_kinds,
    value_kinds,
    yaml_kinds,
)
from tests.hostile.contents import has_values, is_tensors, is_yaml
from tests.hostile.reader import Reader
from tests.hostile.seals import Seals
from tests.hostile.surroundings import Surroundings
from tests.hostile.value_kinds import CannotApply

Apply = Callable[[Path, Random, Surroundings], None]
RESEALED = " resealed"
# Those that take long are tried less often, once each has been tried.
RARE = {"huge", "bomb", "vanishing", "wide", "deep"}
# So many of the inputs beyond the first are made hostile in two ways.
TWICE = 0.2


@dataclass(frozen=True)
class Kind:
    """A way of making a file hostile."""

    name: str
    apply: Apply
    fits: Callable[[Path], bool]
    """Whether it can be done to a file or folder."""


def is_packed(path: Path) -> bool:
    """Tell whether a file is packed."""
    return path.suffix in (".gz", ".xz")


def is_pickled(path: Path) -> bool:
    """Tell whether ``torch.save`` wrote a file."""
    return path.suffix in (".bin", ".ckpt") and path.is_file()


TABLES: tuple[tuple[dict[str, Apply], Callable[[Path], bool]], ...] = (
    (byte_kinds.KINDS, Path.is_file),
    (value_kinds.KINDS, has_values),
    (tensor_kinds.KINDS, is_tensors),
    (yaml_kinds.KINDS, is_yaml),
    (packed_kinds.KINDS, is_packed),
    (pickle_kinds.KINDS, is_pickled),
    (file_kinds.KINDS, Path.exists),
)
KINDS = {name: Kind(name, apply, fits) for table, fits in TABLES for name, apply in table.items()}
FILE_KINDS = set(file_kinds.KINDS)


@dataclass(frozen=True)
class Choice:
    """What is done to one input."""

    kind: str
    """A key of ``KINDS``, also ``planted …`` or ``… resealed``."""
    path: str
    """Which file or folder, relative to the input."""
    then: "Choice | None" = None
    """What is done to another file of some inputs: attacks may take two steps."""

    def __str__(self) -> str:
        done = f"{self.kind} of {self.path!r}"
        return f"{done}, then {self.then}" if self.then else done


class Choices:
    """What can be done to a reader's input, and what is for each number.

    Args:
        reader: the reader.
        good: its good input.
    """

    def __init__(self, reader: Reader, good: Path):
        self.reader, self.good = reader, good
        self.paths = sorted(path for path in good.rglob("*") if not path.is_symlink())
        self.seals = Seals(good)
        self.targets = [path for path in self.paths if self._is_target(path)]

    @cached_property
    def kinds(self) -> dict[str, list[str]]:
        """Name of a kind -> the paths to which it can be done."""
        found: dict[str, list[str]] = {}
        for kind in KINDS.values():
            fitting = [str(path.relative_to(self.good)) for path in self.targets if kind.fits(path)]
            found[kind.name] = fitting
            if kind.name not in FILE_KINDS:
                found[kind.name + RESEALED] = [path for path in fitting if path in self.seals]
        for name in file_kinds.PLANTS:
            found[f"planted {name}"] = list(self.reader.plants)
        return {name: paths for name, paths in found.items() if paths}

    def _is_target(self, path: Path) -> bool:
        return any(fnmatch(str(path.relative_to(self.good)), pattern) for pattern in self.reader.targets)

    def choose(self, number: int, rng: Random) -> Choice:
        """Choose for one input: every kind once, then at random."""
        names = list(self.kinds)
        if number < len(names):
            name = names[number]
        else:
            name = rng.choices(names, [0.1 if name.split(RESEALED)[0] in RARE else 1 for name in names])[0]
        choice = Choice(name, rng.choice(self.kinds[name]))
        if number >= len(names) and rng.random() < TWICE:
            then = Choice(other := rng.choice(names), rng.choice(self.kinds[other]))
            return choice if then.path == choice.path else replace(choice, then=then)
        return choice

    def make(self, number: int, seed: int, around: Surroundings) -> tuple[Choice, Path]:
        """Make the input of a number; gives what was done, and the input's folder."""
        rng = Random(f"{seed}/{self.reader.name}/{number}")
        for _ in range(50):
            inputs = around.place(self.good)
            choice = self.choose(number, rng)
            try:
                self.apply(choice, inputs, rng, around)
            except CannotApply:
                continue
            if choice.then and _is_whole(inputs, choice.then.path):
                # It may meet anything that the first step left.
                with suppress(Exception):
                    self.apply(choice.then, inputs, rng, around)
            return choice, inputs
        return Choice("nothing", ""), around.place(self.good)

    def apply(self, choice: Choice, inputs: Path, rng: Random, around: Surroundings) -> None:
        """Make a copy of the good input hostile."""
        path = inputs / choice.path
        if choice.kind.startswith("planted "):
            path.parent.mkdir(parents=True, exist_ok=True)
            file_kinds.PLANTS[choice.kind.removeprefix("planted ")](path, rng, around)
            return
        KINDS[choice.kind.removesuffix(RESEALED)].apply(path, rng, around)
        if choice.kind.endswith(RESEALED):
            self.seals.renew(choice.path, inputs)

    def is_sealed(self, choice: Choice) -> bool:
        """Tell whether the answer must be what it was, or none."""
        if choice.kind.endswith(RESEALED) or self.reader.answer is None:
            return False
        if choice.then and not self.is_sealed(choice.then):
            return False
        if choice.kind.startswith("planted "):
            return True
        if choice.kind == "link to good":
            # A library leaves an expert's folder that is a link out, and `verify` tells of it.
            return (self.good / choice.path).is_file()
        return choice.kind != "neighbour" and self._covers(choice)

    def _covers(self, choice: Choice) -> bool:
        path = self.good / choice.path
        if path.is_dir():
            return False
        return any(fnmatch(choice.path, pattern) for pattern in self.reader.sealed)


def _is_whole(inputs: Path, path: str) -> bool:
    """Tell whether no link or pipe is on the way to a file: changes must not go elsewhere or wait."""
    here = inputs
    for part in Path(path).parts:
        here /= part
        if here.is_symlink() or (os.path.lexists(here) and not _is_plain(here)):
            return False
    return True


def _is_plain(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and path.stat().st_nlink == 1)
