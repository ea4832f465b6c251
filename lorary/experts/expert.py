"""``Expert``: changes of the modules of a base model, with a name: mostly low-rank factors.

R rank, I layer input, O layer output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from lorary.experts.base_identity import BaseIdentity, read_identity
from lorary.experts.card import ExpertCard
from lorary.experts.factors import (
    DTYPES,
    Factors,
    find_factor_fault,
    name_dtypes,
    refuse_not_finite,
    refuse_tensors,
)
from lorary.experts.names import check_name
from lorary.experts.parts.contract import Part
from lorary.experts.parts.sorting import cast_part, list_kinds, list_tensors, sort_parts
from lorary.experts.stored_factors import LazyFactors
from lorary.experts.stored_parts import StoredParts
from lorary.files import quote, say_count

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False, repr=False)
class Expert:
    """Changes of the modules of one base model, with a name.

    Most experts have low-rank factors of linear layers only. Other changes, such as DoRA's magnitudes
    or whole weights, are in ``parts``; see ``lorary.experts.parts``.

    Raises:
        TypeError: if a field has another type than declared.
        ValueError: if the name is unsafe, there are no factors and no parts, or a pair has wrong shapes.
    """

    name: str
    """Name, which is also the name of its folder in a library."""
    base_model: str
    """Hub id or path of its base model; empty if unknown."""
    factors: Mapping[str, Factors]
    """Module path as in ``base.named_modules()`` -> factors."""
    card: ExpertCard = field(default_factory=ExpertCard)
    """Tasks, tags, provenance and other metadata."""
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    """Module path -> what it changes there besides low-rank factors, at most one part of a kind."""

    def __post_init__(self) -> None:
        check_name(self.name, is_stored=True)
        if not isinstance(self.base_model, str):
            raise TypeError(
                f"expert {self.name!r}: base_model must be a string, found {quote(self.base_model, 60)}"
            )
        if not isinstance(self.card, ExpertCard):
            raise TypeError(f"expert {self.name!r}: card must be an ExpertCard, found {quote(self.card, 60)}")
        if not self.factors and not self.parts:
            raise ValueError(f"expert {self.name!r} must change at least one module, found none")
        if not isinstance(self.parts, StoredParts):
            object.__setattr__(self, "parts", sort_parts(self.name, self.parts))
        if isinstance(self.factors, LazyFactors):
            return  # checked by the reader; copying would read the weights
        faults = [fault for path, pair in self.factors.items() if (fault := find_factor_fault(path, pair))]
        if faults:
            more = f" (and {say_count(len(faults) - 1, 'more such module')})" if len(faults) > 1 else ""
            raise ValueError(f"expert {self.name!r}, {faults[0]}{more}")
        object.__setattr__(self, "factors", dict(self.factors))

    def __repr__(self) -> str:
        kinds = "".join(f"{kind}, " for kind in self.kinds)
        rank = f"rank {self.max_rank}, " if self.outlines else ""
        return (
            f"<Expert {self.name!r} for {quote(self.base_model)}: {say_count(len(self.paths), 'module')}, "
            f"{rank}{kinds}{say_count(self.num_parameters, 'parameter')}>"
        )

    @property
    def paths(self) -> list[str]:
        """The paths of all modules that it changes."""
        return list({**dict.fromkeys(self.outlines), **dict.fromkeys(self.part_outlines)})

    @property
    def kinds(self) -> list[str]:
        """The kinds of its parts, in the order of ``KINDS``; empty if it has low-rank factors only."""
        return list_kinds(self.part_outlines)

    @property
    def ranks(self) -> dict[str, int]:
        """The rank of each module's factors."""
        return {path: pair.rank for path, pair in self.outlines.items()}

    @property
    def max_rank(self) -> int:
        """The largest rank over its modules; 0 without low-rank factors."""
        return max(self.ranks.values(), default=0)

    @property
    def num_parameters(self) -> int:
        """The number of weights in all factors and parts."""
        factors = sum(pair.a.numel() + pair.b.numel() for pair in self.outlines.values())
        return factors + sum(tensor.numel() for tensor in list_tensors(self.part_outlines))

    @property
    def outlines(self) -> Mapping[str, Factors]:
        """Factors for shapes and dtypes only: those in files are on the meta device and are not read."""
        return self.factors.outlines if isinstance(self.factors, LazyFactors) else self.factors

    @property
    def part_outlines(self) -> Mapping[str, tuple[Part, ...]]:
        """Parts for shapes and dtypes only, as ``outlines``."""
        return self.parts.outlines if isinstance(self.parts, StoredParts) else self.parts

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """The different dtypes of its factors and parts, narrowest first."""
        found = {tensor.dtype for pair in self.factors.values() for tensor in pair}
        found |= {tensor.dtype for tensor in list_tensors(self.parts)}
        return tuple(dtype for dtype in DTYPES if dtype in found)

    def to(self, dtype: torch.dtype) -> "Expert":
        """Return this expert with all weights in one dtype; weights that already have it are shared.

        Raises:
            ValueError: if the dtype is not one of float16, bfloat16, float32 and float64.
        """
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {name_dtypes()}, found {dtype}")
        factors = {path: Factors(a.to(dtype), b.to(dtype)) for path, (a, b) in self.factors.items()}
        parts = {path: tuple(cast_part(part, dtype) for part in own) for path, own in self.parts.items()}
        return replace(self, factors=factors, parts=parts)

    def rename(self, name: str) -> "Expert":
        """Return this expert under another name, sharing its factors."""
        return replace(self, name=name)

    def with_base(
        self, base_model: str, *, revision: str | None = None, fingerprint: str | None = None
    ) -> "Expert":
        """Return this expert with another base model, or another name of it, sharing its factors.

        Use it if an adapter has a wrong name or a path of its base model. It replaces the base model, its
        revision and its fingerprint; shapes are checked when the expert is used.

        Args:
            base_model: hub id or path.
            revision: revision of the base model on the hub.
            fingerprint: fingerprint of its weights and settings.
        """
        card = replace(self.card, base_revision=revision, base_fingerprint=fingerprint)
        return replace(self, base_model=base_model, card=card)

    def rename_modules(self, paths: Mapping[str, str]) -> "Expert":
        """Return this expert with other module paths, sharing its factors.

        Args:
            paths: path of each of its modules -> new path.
        """
        parts = (
            self.parts.rename_modules(paths)
            if isinstance(self.parts, StoredParts)
            else _move(self.parts, paths)
        )
        if isinstance(self.factors, LazyFactors):
            return replace(self, factors=self.factors.rename_modules(paths), parts=parts)
        return replace(self, factors=_move(self.factors, paths), parts=parts)


def _move(found: Mapping[str, Value], paths: Mapping[str, str]) -> dict[str, Value]:
    return {new: found[old] for old, new in paths.items() if old in found}


def check_finite(expert: Expert, file: str = "") -> None:
    """Read all weights of an expert and check that they are finite.

    Args:
        expert: the expert.
        file: its file, for the message.

    Raises:
        FormatError: if a weight is NaN or infinite, or values do not make a part.
    """
    if isinstance(expert.factors, LazyFactors):
        for path in list(expert.factors)[:1]:
            expert.factors[path]  # the first access checks all weights
    else:
        refuse_not_finite(expert.name, expert.factors, file)
    for path, parts in expert.parts.items():
        for part in parts:
            tensors = {f"{field} of module {quote(path)}": tensor for field, tensor in part.tensors.items()}
            refuse_tensors(expert.name, tensors, file)


def identify_base(expert: Expert) -> BaseIdentity:
    """Return the identity of an expert's base model."""
    return read_identity(expert.base_model, expert.card.base_fingerprint, expert.card.base_revision)
