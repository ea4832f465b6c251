"""Batches of factors of many experts and layers, to compute many layers at once.

Shape letters: N experts of a batch, P layers of one shape, R rank, I layer input, O layer output.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors, read_alike
from lorary.experts.parts import require_low_rank
from lorary.experts.parts.leaving_out import keep_low_rank
from lorary.experts.routed import list_routed

Progress = Callable[[int, int], None]
"""A function that is called with the number of experts or layers done, and the number of all of them."""

# Numbers in one batch of factors, 16 MB in float32. Larger batches were not faster.
_BATCH_NUMEL = 2**22

_Kind = tuple[torch.Size, torch.Size, torch.dtype, torch.dtype]


class FactorBatch(NamedTuple):
    """Factors of one shape, for P layers and N consecutive experts."""

    paths: list[str]
    """Module paths of the P layers."""
    where: slice
    """Indices of the N experts."""
    a: Tensor
    """Down-projections, ``[P, N, R, I]``."""
    b: Tensor
    """Up-projections, ``[P, N, O, R]``."""


def batch_factors(
    experts: Mapping[str, Expert], names: Sequence[str], on_progress: Progress | None = None
) -> Iterator[FactorBatch]:
    """Read each expert once, and stack the factors of experts and layers that have the same shape.

    Args:
        experts: a library or any other mapping.
        names: the experts to read; ``FactorBatch.where`` is a slice of these.
        on_progress: called with the number of experts read and of all experts, after several experts.

    Yields:
        Batches that together have each pair of factors once. Memory does not grow with the number of experts.

    Raises:
        IncompatibleExpert: if two experts have different shapes of a layer, or one has more than low-rank
            factors.
        FormatError: if an expert in a file has NaN or infinite weights.
    """
    widths = _Widths()

    def read() -> Iterator[Expert]:
        for name in names:
            expert = experts[name]
            require_low_rank([expert], "comparing factors")
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


def choose_names(experts: Mapping[str, Expert], names: Sequence[str] | None, action: str) -> list[str]:
    """Return the given names, checked, or for None the names that ``list_routed`` lists.

    Of the latter, experts with more than low-rank factors are left out, with one warning.

    Args:
        experts: a library or any other mapping.
        names: the names, or None.
        action: what the experts are for, such as ``"clustering"``.

    Raises:
        ValueError: if there are no names, or a name is given twice.
        UnknownExpert: if there is no expert of a name.
        IncompatibleExpert: if no names were given, and all experts have more than low-rank factors.
    """
    chosen = keep_low_rank(experts, list_routed(experts), action) if names is None else list(names)
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
    """Checks that all experts have the same shape of each layer."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int, str]] = {}

    def check(self, name: str, path: str, pair: Factors) -> None:
        outputs, inputs = pair.b.shape[0], pair.a.shape[1]
        seen = self._seen.setdefault(path, (outputs, inputs, name))
        if seen[:2] != (outputs, inputs):
            raise IncompatibleExpert(
                f"experts must have the same shape of a layer, but in module {path!r} expert {seen[2]!r} has "
                f"[{seen[0]}, {seen[1]}] and expert {name!r} has [{outputs}, {inputs}]: choose experts of "
                "one base model"
            )
