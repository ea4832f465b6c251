"""``Expert``: low-rank weight changes of the linear layers of a base model, with a name.

R rank, I layer input, O layer output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from lorary.experts.base_identity import BaseIdentity, read_identity
from lorary.experts.card import ExpertCard
from lorary.experts.factors import DTYPES, Factors, find_factor_fault, name_dtypes, refuse_not_finite
from lorary.experts.names import check_name
from lorary.experts.stored_factors import LazyFactors
from lorary.files import quote, say_count


@dataclass(frozen=True, eq=False, repr=False)
class Expert:
    """Low-rank weight changes of the linear layers of one base model, with a name.

    Raises:
        TypeError: if a field has another type than declared.
        ValueError: if the name is unsafe, there are no factors, or a pair has wrong shapes.
    """

    name: str
    """Name, which is also the name of its folder in a library."""
    base_model: str
    """Hub id or path of its base model; empty if unknown."""
    factors: Mapping[str, Factors]
    """Module path as in ``base.named_modules()`` -> factors."""
    card: ExpertCard = field(default_factory=ExpertCard)
    """Tasks, tags, provenance and other metadata."""

    def __post_init__(self) -> None:
        check_name(self.name, is_stored=True)
        if not isinstance(self.base_model, str):
            raise TypeError(
                f"expert {self.name!r}: base_model must be a string, found {quote(self.base_model, 60)}"
            )
        if not isinstance(self.card, ExpertCard):
            raise TypeError(f"expert {self.name!r}: card must be an ExpertCard, found {quote(self.card, 60)}")
        if not self.factors:
            raise ValueError(f"expert {self.name!r} must have factors for at least one module, found none")
        if isinstance(self.factors, LazyFactors):
            return  # checked by the reader; copying would read the weights
        faults = [fault for path, pair in self.factors.items() if (fault := find_factor_fault(path, pair))]
        if faults:
            more = f" (and {say_count(len(faults) - 1, 'more such module')})" if len(faults) > 1 else ""
            raise ValueError(f"expert {self.name!r}, {faults[0]}{more}")
        object.__setattr__(self, "factors", dict(self.factors))

    def __repr__(self) -> str:
        return (
            f"<Expert {self.name!r} for {quote(self.base_model)}: {say_count(len(self.factors), 'module')}, "
            f"rank {self.max_rank}, {say_count(self.num_parameters, 'parameter')}>"
        )

    @property
    def ranks(self) -> dict[str, int]:
        """The rank of each module's factors."""
        return {path: pair.rank for path, pair in self.outlines.items()}

    @property
    def max_rank(self) -> int:
        """The largest rank over its modules."""
        return max(self.ranks.values())

    @property
    def num_parameters(self) -> int:
        """The number of weights in all factors."""
        return sum(pair.a.numel() + pair.b.numel() for pair in self.outlines.values())

    @property
    def outlines(self) -> Mapping[str, Factors]:
        """Factors for shapes and dtypes only: those in files are on the meta device and are not read."""
        return self.factors.outlines if isinstance(self.factors, LazyFactors) else self.factors

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """The different dtypes of its factors, narrowest first."""
        found = {tensor.dtype for pair in self.factors.values() for tensor in pair}
        return tuple(dtype for dtype in DTYPES if dtype in found)

    def to(self, dtype: torch.dtype) -> "Expert":
        """Return this expert with all factors in one dtype; factors that already have it are shared.

        Raises:
            ValueError: if the dtype is not one of float16, bfloat16, float32 and float64.
        """
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {name_dtypes()}, found {dtype}")
        factors = {path: Factors(a.to(dtype), b.to(dtype)) for path, (a, b) in self.factors.items()}
        return replace(self, factors=factors)

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
        if isinstance(self.factors, LazyFactors):
            return replace(self, factors=self.factors.rename_modules(paths))
        return replace(self, factors={new: self.factors[old] for old, new in paths.items()})


def check_finite(expert: Expert, file: str = "") -> None:
    """Read all weights of an expert and check that they are finite.

    Args:
        expert: the expert.
        file: its file, for the message.

    Raises:
        FormatError: if a factor has NaN or infinite values.
    """
    if isinstance(expert.factors, LazyFactors):
        next(iter(expert.factors.values()))  # the first access checks all weights
    else:
        refuse_not_finite(expert.name, expert.factors, file)


def identify_base(expert: Expert) -> BaseIdentity:
    """Return the identity of an expert's base model."""
    return read_identity(expert.base_model, expert.card.base_fingerprint, expert.card.base_revision)
