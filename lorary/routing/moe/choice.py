"""The choice of a mixture-of-experts router: the experts that a token keeps, and their weights.

Shape letters: T tokens, E routed experts, S shared ones, G groups, M members of the largest group, K experts
kept per token, shared ones excluded.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.product_keys import choose_cells, normalise_grid
from lorary.routing.moe.scores import MoeScores, sum_halves
from lorary.routing.top_k import keep_top_k


class MoeChoice(NamedTuple):
    """The routed experts that tokens keep."""

    indices: Tensor
    """Their places among the routed experts, ``[T, K]``."""
    weights: Tensor
    """Their weights, ``[T, K]`` float32."""


def choose_moe(form: MoeForm, scores: MoeScores) -> MoeChoice:
    """Choose each token's routed experts from a layer's scores.

    Without groups, the K best experts are kept. Their weights are a softmax of the kept scores, or of all of
    them. With groups, the best groups are kept, and in each of them the best experts; a weight is that of the
    group times that of the expert in its group.

    Source: hierarchical mixtures, arXiv:1701.06538, appendix B.
    """
    if form.groups is not None:
        assert scores.experts is not None and scores.groups is not None
        return _choose_in_groups(form, scores.experts, scores.groups)
    if form.kind == "product_keys":
        assert scores.first is not None and scores.second is not None
        if form.cells == tuple(range(form.num_cells)):
            kept, indices = choose_cells(scores.first, scores.second, form.num_cells, form.top_k)
            if form.weighting == "kept":
                return MoeChoice(indices, kept.softmax(-1))
            everything = normalise_grid(scores.first, scores.second, form.num_cells)
            return MoeChoice(indices, (kept - everything[:, None]).exp())
        # Experts were removed, so the best rows and columns may meet in free cells: all sums are compared.
        scores = MoeScores(experts=sum_halves(form, scores.first, scores.second))
    assert scores.experts is not None
    if form.weighting == "kept":
        return MoeChoice(*keep_top_k(scores.experts, form.top_k))
    shares = scores.experts.softmax(-1)
    weights, indices = shares.topk(form.top_k)
    return MoeChoice(indices, weights)


def list_members(groups: tuple[int, ...]) -> list[list[int]]:
    """Return the experts of each group."""
    members: list[list[int]] = [[] for _ in range(max(groups) + 1)]
    for expert, group in enumerate(groups):
        members[group].append(expert)
    return members


def _choose_in_groups(form: MoeForm, experts: Tensor, groups: Tensor) -> MoeChoice:
    assert form.groups is not None
    members = list_members(form.groups)
    widest = max(map(len, members))
    # [G, M]; -1 where a group has fewer members.
    table = torch.tensor([own + [-1] * (widest - len(own)) for own in members], device=experts.device)
    kept_groups, chosen = groups.topk(form.top_groups)  # [T, g]
    own = table[chosen]  # [T, g, M]
    in_group = experts[:, None].expand(-1, form.top_groups, -1).gather(2, own.clamp(min=0))
    in_group = in_group.masked_fill(own < 0, -torch.inf)
    kept, places = in_group.topk(form.top_k)  # [T, g, k]
    if form.weighting == "kept":
        group_shares, shares = kept_groups.softmax(-1), kept.softmax(-1)
    else:
        group_shares = (kept_groups - groups.logsumexp(-1, keepdim=True)).exp()
        shares = (kept - in_group.logsumexp(-1, keepdim=True)).exp()
    return MoeChoice(own.gather(2, places).flatten(1), (group_shares[..., None] * shares).flatten(1))
