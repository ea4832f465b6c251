"""Exact weighted sums of experts, with separate weights for each group of layers.

E experts, S sum of their ranks, I layer input, O layer output.
"""

from collections.abc import Mapping

import torch

from lorary.adaptation.methods.contract import Context, Weights
from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.skills.task_table import Granularity, name_group
from lorary.lowrank import compress, frobenius_norm, weighted_sum
from lorary.models.fit_paths import fit_paths


@torch.no_grad()
def sum_experts(
    context: Context, name: str, weights: Weights, granularity: Granularity, rank: int | None = None
) -> tuple[Expert, float]:
    """Add the weight changes ``w_e b_e a_e`` of experts.

    Args:
        context: the experts.
        name: the sum's name.
        weights: group of layers -> expert -> weight; or expert -> weight, for all layers.
        granularity: the groups.
        rank: rank to which each layer is truncated, by the best approximation; None: the sum is exact, of
            rank S or that of a full matrix.

    Returns:
        The sum, and the relative error of the truncation over all layers.
    """
    table = _list_by_group(weights)
    names = dict.fromkeys(name for own in table.values() for name in own)
    experts = fit_paths(context.base.model, {own: context.experts[own] for own in names})
    paths = dict.fromkeys(path for expert in experts.values() for path in expert.outlines)
    factors: dict[str, Factors] = {}
    cut = whole = 0.0
    for path in paths:
        own = table.get(name_group(path, granularity), table.get("", {}))
        used = [expert for expert in experts if path in experts[expert].outlines]
        pairs = [(a.float(), b.float()) for a, b in (experts[expert].factors[path] for expert in used)]
        a, b = weighted_sum(pairs, [own.get(expert, 0.0) for expert in used])
        found = compress(a, b, rank=min(rank or len(a), a.shape[1], b.shape[0]))
        factors[path] = Factors(found.a.contiguous(), found.b.contiguous())
        squared = float(frobenius_norm(a.double(), b.double())) ** 2
        cut, whole = cut + found.error**2 * squared, whole + squared
    first = next(iter(experts.values())).card
    card = ExpertCard(
        base_revision=context.base.revision,
        base_fingerprint=context.base.fingerprint,
        fan_in_fan_out=first.fan_in_fan_out,
        task_type=first.task_type,
        on_top_of=first.on_top_of,
    )
    error = (cut / whole) ** 0.5 if rank is not None and whole else 0.0
    return Expert(name, context.base.name, factors, card), error


def _list_by_group(weights: Weights) -> dict[str, Mapping[str, float]]:
    """Return the weights by group; weights for all layers have the group ``""``."""
    by_group = {group: own for group, own in weights.items() if isinstance(own, Mapping)}
    return by_group or {"": {name: own for name, own in weights.items() if not isinstance(own, Mapping)}}
