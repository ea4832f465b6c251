"""Pico: scaling down output directions that many experts use, before any method merges the experts.

Shape letters: E experts, R rank, I layer input, O layer output, M directions of the outputs in use.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from lorary.experts import Factors
from lorary.lowrank import frobenius_norm
from lorary.lowrank.core import output_basis
from lorary.transforms.merging.layer import Change, LowRank

Rescale = Literal["merge", "experts"]
"""``merge``: the merged layer has the mean of the experts' norms; ``experts``: each expert keeps its own."""
RESCALES: tuple[str, ...] = get_args(Rescale)


def merge_calibrated(
    pairs: Sequence[Factors],
    weights: Sequence[float],
    rescale: Rescale,
    merge: Callable[[tuple[Factors, ...]], Change],
) -> Change:
    """Calibrate the experts of one layer, merge them, and restore the norm.

    Args:
        pairs: the experts' factors; those of zeros, and experts of weight 0, are not counted.
        weights: one weight per expert.
        rescale: whose norm is restored. With ``"merge"``, a factor of the method's result has no effect.
        merge: the method.

    Source: Pico, arXiv:2604.16826.
    """
    norms = [frobenius_norm(a.double(), b.double()).item() for a, b in pairs]
    counted = [bool(norm and weight) for norm, weight in zip(norms, weights, strict=True)]
    calibrated = calibrate(pairs, counted)
    if rescale == "experts":
        return merge(tuple(map(_restore, calibrated, norms)))
    change = merge(calibrated)
    found = (
        frobenius_norm(change.a.double(), change.b.double())
        if isinstance(change, LowRank)
        else change.double().norm()
    ).item()
    kept = [norm for norm, is_counted in zip(norms, counted, strict=True) if is_counted]
    factor = sum(kept) / len(kept) / found if kept and found else 1.0
    if isinstance(change, LowRank):
        return change._replace(b=change.b * factor)
    return change * factor


def calibrate(pairs: Sequence[Factors], counted: Sequence[bool]) -> tuple[Factors, ...]:
    """Scale down the output directions in which many experts have energy.

    The experts' normalised ``b`` side by side have left singular vectors ``u_j`` and singular values ``s_j``.
    The part of each weight change along ``u_j`` is multiplied by ``1 / (1 + (E - 1) s_j^2 / sum_i s_i^2)``.

    A normalised ``b`` is that of the factorisation whose ``a`` has orthonormal rows, divided by its norm. So
    experts count alike, and the factorisation does not matter. (The paper's is ``b`` as it was trained.)

    Args:
        pairs: the experts' factors in one layer.
        counted: which experts have a nonzero weight change that counts. With one or none, nothing changes.

    Returns:
        Factors of the same dtype, with the same ``a``.
    """
    used = [pair for pair, is_counted in zip(pairs, counted, strict=True) if is_counted]
    if len(used) < 2:
        return tuple(pairs)
    wide = [(a.double(), b.double()) for a, b in used]
    basis, values = output_basis([(a, b / frobenius_norm(a, b)) for a, b in wide])
    shared = values.square() / values.square().sum()
    less = 1 / (1 + (len(used) - 1) * shared) - 1
    return tuple(
        Factors(a, (b.double() + basis @ (less[:, None] * (basis.mT @ b.double()))).to(b.dtype))
        for a, b in pairs
    )


def _restore(pair: Factors, norm: float) -> Factors:
    found = frobenius_norm(pair.a.double(), pair.b.double()).item()
    return pair if not found else Factors(pair.a, pair.b * (norm / found))
