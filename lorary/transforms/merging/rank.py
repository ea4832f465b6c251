"""The rank of a merged layer, and truncation to it with its error.

Shape letters: S rank before truncation, I layer input, O layer output.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from lorary.files import quote
from lorary.lowrank import compress, compress_dense
from lorary.lowrank.compress import Compressed
from lorary.transforms.merging.layer import Change, LowRank

MOST_CHARACTERS = 50


@dataclass(frozen=True, kw_only=True)
class RankRule:
    """The rule for the rank to which a merged layer is truncated."""

    kind: Literal["kept", "full", "rank", "energy"]
    """``kept``: the largest of the experts' ranks; ``full``: no truncation; ``rank``: one rank for all
    layers; ``energy``: a share of the energy."""
    rank: int = 0
    """The rank, for kind ``rank``."""
    energy: float = 0.0
    """The smallest share of the sum of squared singular values to keep, for kind ``energy``."""

    def choose_target(self, largest: int) -> int | None:
        """Return the rank of a merged layer, or None if it depends on the merged weights.

        Args:
            largest: the largest rank of the experts' factors in this layer.
        """
        return {"kept": largest, "rank": self.rank}.get(self.kind)


def read_rank(rank: int | str | None, keeps_full_rank: bool = False) -> RankRule:
    """Parse a rank: a whole number, a share of energy such as ``"99%"``, ``"kept"``, ``"full"`` or None.

    Args:
        rank: the value; None means ``"kept"``, the largest of the experts' ranks in each layer.
        keeps_full_rank: whether None means ``"full"`` instead.

    Raises:
        ValueError: if the value has another form or is out of range.
    """
    is_plain = isinstance(rank, str) or (isinstance(rank, int) and not isinstance(rank, bool))
    # Limits the length, because parsing a number of a million digits takes minutes.
    text = str(rank).strip() if is_plain and len(quote(rank)) < MOST_CHARACTERS else ""
    if rank is None:
        return RankRule(kind="full" if keeps_full_rank else "kept")
    if text in ("kept", "full"):
        return RankRule(kind="kept" if text == "kept" else "full")
    if text.isdecimal() and int(text) > 0:
        return RankRule(kind="rank", rank=int(text))
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else 0.0
    except ValueError:
        share = 0.0
    if 0 < share <= 1:
        return RankRule(kind="energy", energy=share)
    raise ValueError(
        "rank must be a whole number of at least 1, a share of the energy such as '99%', 'kept' (the largest "
        f"of the experts' ranks) or 'full' (no truncation), found {quote(rank)}"
    )


def cut(change: Change, rule: RankRule, largest: int) -> Compressed:
    """Truncate a merged layer to its rank.

    Args:
        change: the result of a method.
        rule: the rule for the rank.
        largest: the largest rank of the experts' factors in this layer.

    Returns:
        Factors, and the relative truncation error in the Frobenius norm.
    """
    target = rule.choose_target(largest)
    energy = rule.energy if rule.kind == "energy" else None
    if not isinstance(change, LowRank):
        target = min(change.shape) if target is None and energy is None else target
        return compress_dense(change, rank=target, energy=energy)
    a, b, is_sorted = change
    if rule.kind == "full":
        return Compressed(a, b, 0.0)
    return _cut_sorted(a, b, target, energy) if is_sorted else compress(a, b, rank=target, energy=energy)


def _cut_sorted(a: torch.Tensor, b: torch.Tensor, rank: int | None, energy: float | None) -> Compressed:
    """Keep the first directions. They are orthogonal, so the energy of each is ``|a_i|² |b_i|²``."""
    energies = a.double().square().sum(1) * b.double().square().sum(0)
    total = energies.sum().item()
    if rank is None:
        assert energy is not None
        rank = int((energies.cumsum(0) < energy * total * (1 - 1e-6)).sum()) + 1
    rest = energies[rank:].sum().item()
    error = (rest / total) ** 0.5 if total else 0.0
    return Compressed(a[:rank].contiguous(), b[:, :rank].contiguous(), error)
