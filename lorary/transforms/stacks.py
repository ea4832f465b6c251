"""Stacks of factors gathered from many experts, for maths that runs on many layers at once.

Shape letters: E experts, N some of them, P layers of one shape, R rank, I layer input, O layer output.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors, read_alike

Progress = Callable[[int, int], None]
"""Called with the number of experts or layers done and the number of all."""

# Numbers in one batch of factors, 16 MB in float32: larger ones gain nothing.
_BATCH_NUMEL = 2**22

_Kind = tuple[torch.Size, torch.Size, torch.dtype, torch.dtype]


class FactorBatch(NamedTuple):
    """Factors of one shape, of some layers and of some experts that follow each other."""

    paths: list[str]
    """The P layers' module paths."""
    where: slice
    """Which N of the experts."""
    a: Tensor
    """Down-projections, ``[P, N, R, I]``."""
    b: Tensor
    """Up-projections, ``[P, N, O, R]``."""


def batch_factors(
    experts: Mapping[str, Expert], names: Sequence[str], on_progress: Progress | None = None
) -> Iterator[FactorBatch]:
    """Gather the factors of all experts and layers into batches of one shape, reading each expert once.

    Args:
        experts: a library or any other mapping.
        names: the experts to take; a batch's experts are given as a slice of these.
        on_progress: called with the number of experts that were read, some at a time.

    Yields:
        Batches that together hold every pair of factors once. Memory does not grow with the experts' number.

    Raises:
        IncompatibleExpert: if two experts disagree on the shape of a layer.
        FormatError: if a number of an expert that lies in a file is not finite.
    """
    widths = _Widths()

    def read() -> Iterator[Expert]:
        for name in names:
            expert = experts[name]
            for path, pair in expert.outlines.items():
                widths.check(name, path, pair)
            yield expert

    for where, pairs in read_alike(read()):
        alike: dict[_Kind, list[str]] = defaultdict(list)
        for path, (a, b) in pairs.items():
            alike[a.shape, b.shape, a.dtype, b.dtype].append(path)
        for (shape_a, shape_b, _, _), paths in alike.items():
            count = max(1, _BATCH_NUMEL // (shape_a.numel() + shape_b.numel()))
            for first in range(0, len(paths), count):
                some = paths[first : first + count]
                a, b = (torch.stack(factors) for factors in zip(*(pairs[path] for path in some), strict=True))
                yield FactorBatch(some, where, a, b)
        if on_progress is not None:
            on_progress(where.stop, len(names))


def choose_names(experts: Mapping[str, Expert], names: Sequence[str] | None) -> list[str]:
    """List the experts to work on: those asked for, or all in the mapping's order.

    Raises:
        ValueError: if there are none, or one is asked for twice.
        UnknownExpert: if one is not among the experts.
    """
    chosen = list(experts if names is None else names)
    if not chosen:
        raise ValueError("at least one expert is needed, found none: add one to the library first")
    for name in chosen:
        if name not in experts:
            raise UnknownExpert(name, experts, "the library")
    twice = [name for name, count in Counter(chosen).items() if count > 1]
    if twice:
        raise ValueError(
            f"every expert must be named once, found more than once: {', '.join(map(repr, twice))}"
        )
    return chosen


class _Widths:
    """The layer shapes seen so far, and the expert each was first seen in."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int, str]] = {}

    def check(self, name: str, path: str, pair: Factors) -> None:
        outputs, inputs = pair.b.shape[0], pair.a.shape[1]
        seen = self._seen.setdefault(path, (outputs, inputs, name))
        if seen[:2] != (outputs, inputs):
            raise IncompatibleExpert(
                f"experts must change layers of one shape, but in module {path!r} expert {seen[2]!r} has "
                f"[{seen[0]}, {seen[1]}] and expert {name!r} has [{outputs}, {inputs}]: were they trained on "
                "the same base model?"
            )
