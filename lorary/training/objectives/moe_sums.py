"""The sums over the tokens of a layer from which the losses of a mixture of experts are computed.

T tokens, E routed experts, G groups, M rows and N columns of a grid, K experts kept per token, n choices of a
head.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.choice import MoeChoice
from lorary.routing.moe.scores import MoeScores


class Head(NamedTuple):
    """One of a router's choices: among experts, or among the rows or the columns of a grid."""

    shares: Tensor
    """Sum over tokens of the softmax of all scores, ``[n]``."""
    counts: Tensor
    """Number of tokens that chose each, counted for each of their K experts, ``[n]``; without gradients."""

    def balance(self, counts: Tensor, num_tokens: float) -> Tensor:
        """Return this part of the balance loss ``n · Σ f · P``, where f is the share of all counts.

        Args:
            counts: those of the whole batch, ``[n]``.
            num_tokens: number of tokens of the whole batch.
        """
        frequency = counts / counts.sum().clamp_min(1e-20)
        return len(counts) * (frequency * self.shares).sum() / num_tokens


class LayerSums(NamedTuple):
    """Sums over tokens of one layer."""

    heads: tuple[Head, ...]
    """One; with product keys two, of rows and of columns."""
    z: Tensor
    """Sum of squared log-sum-exps of scores."""
    usage: Tensor
    """Number of tokens that use each routed expert, ``[E]``."""
    entropy: Tensor
    """Sum of the entropies of the kept weights, in nats."""
    num_tokens: Tensor
    """Number of tokens."""


def sum_tokens(form: MoeForm, scores: MoeScores, choice: MoeChoice, uses: Tensor) -> LayerSums:
    """Sum over the tokens of a pass.

    Args:
        form: the router's form.
        scores: a layer's scores.
        choice: the routed experts of each token.
        uses: number of sequences that each token belongs to, ``[T]``; 0 for padding, which does not count.
    """
    each, indices = uses.float(), choice.indices

    def head(log_shares: Tensor, chosen: Tensor) -> Head:
        shares = (each[:, None] * log_shares.exp()).sum(0)
        counts = torch.zeros_like(shares.detach())
        counts.index_add_(0, chosen.flatten(), each[:, None].expand(chosen.shape).flatten())
        return Head(shares, counts)

    if form.kind == "product_keys":
        assert scores.first is not None and scores.second is not None
        cells = torch.tensor(form.cells, device=indices.device)[indices]
        pairs = ((scores.first, cells // form.num_columns), (scores.second, cells % form.num_columns))
        heads = tuple(head(own.log_softmax(-1), chosen) for own, chosen in pairs)
        size = (scores.first.logsumexp(-1) + scores.second.logsumexp(-1)).square()
    elif form.groups is not None:
        log_shares, size = _share_in_groups(form, scores)
        heads = (head(log_shares, indices),)
    else:
        assert scores.experts is not None
        heads, size = (head(scores.experts.log_softmax(-1), indices),), scores.experts.logsumexp(-1).square()
    kept = choice.weights.detach()
    usage = torch.zeros(len(form.experts), device=kept.device)
    usage.index_add_(0, indices.flatten(), each[:, None].expand(indices.shape).flatten())
    return LayerSums(heads, (each * size).sum(), usage, (each * _entropy(kept)).sum(), each.sum())


def add_counts(parts: Iterable[LayerSums]) -> tuple[list[Tensor], float]:
    """Return the counts of each head ``[n]`` and the number of tokens of several sums."""
    found = list(parts)
    each = zip(*[part.heads for part in found], strict=True)
    counts = [torch.stack([head.counts for head in heads]).sum(0) for heads in each]
    return counts, float(sum(part.num_tokens for part in found))


def _share_in_groups(form: MoeForm, scores: MoeScores) -> tuple[Tensor, Tensor]:
    """Return the logarithm of each expert's share ``[T, E]``, and each token's term of the z-loss ``[T]``."""
    assert form.groups is not None and scores.experts is not None and scores.groups is not None
    group_of = torch.tensor(form.groups, device=scores.experts.device)
    is_member = group_of == torch.arange(form.num_groups, device=group_of.device)[:, None]  # [G, E]
    each = scores.experts[:, None].masked_fill(~is_member, -torch.inf).logsumexp(-1)  # [T, G]
    log_groups = scores.groups.log_softmax(-1)
    log_shares = log_groups[:, group_of] + scores.experts - each[:, group_of]
    size = scores.groups.logsumexp(-1).square() + each.square().mean(-1)
    return log_shares, size


def _entropy(weights: Tensor) -> Tensor:
    return -torch.xlogy(weights, weights).sum(-1)
