"""The chooser of components of experts: a request has experts, a token the components that react most.

A component is a pair of a row of ``a`` and a column of ``b``: an expert of rank 1.

P requests of a call, T tokens, E experts, R rank, I layer input, K experts per request, N components per
token.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.routing.calibrated import compute_readings
from lorary.routing.contract import Choice


def divide_components(shares: Tensor, num_components: int, most: int) -> Tensor:
    """Divide a number of components among experts in proportion to their shares, by largest remainders.

    Args:
        shares: ``[P, K]``, at least 0.
        num_components: N, the number to divide.
        most: maximum number for one expert; the remainder goes to the others in the order of their shares.

    Returns:
        ``[P, K]`` int64. Rows with only shares of 0 get no component; others get N, or all that exist.
    """
    exact = shares * (num_components / shares.sum(-1, keepdim=True).clamp_min(1e-30))
    counts = exact.floor().clamp_max(most).long()
    # One more for the largest remainder, until all are assigned.
    order = (exact - counts).argsort(dim=-1, descending=True, stable=True)
    while bool((counts.sum(-1) < min(num_components, most * shares.shape[-1])).any()):
        for column in order.unbind(-1):
            own = column[:, None]
            left = num_components - counts.sum(-1, keepdim=True)
            more = (left > 0) & (counts.gather(-1, own) < most)
            counts.scatter_add_(-1, own, more.long())
    return counts * (shares.sum(-1, keepdim=True) > 0)


class ComponentPlan:
    """A ``Chooser`` of the most active components of each request's experts.

    Every kept component has the same weight: the root of the experts' largest rank over their number, so that
    their sum has the variance of one whole expert's output. Ranks are counted without padding.

    Args:
        indices: the experts of each request, ``[P, K]``.
        shares: their shares of the components, ``[P, K]``; zeros for a request without experts.
        a: module path -> down-projections, ``[E, R, I]``; not copied.
        lengths: module path -> norms of the columns of ``b``, ``[E, R]``.
        share: components per token, as a share of those of all K experts.
    """

    def __init__(
        self,
        indices: Tensor,
        shares: Tensor,
        a: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        share: float,
    ):
        # Padding has request -1, so its row is the last one, with shares 0.
        self._indices = torch.cat([indices, indices.new_zeros(1, indices.shape[1])])
        self._shares = torch.cat([shares, shares.new_zeros(1, shares.shape[1])])
        self._a, self._lengths, self._share = a, lengths, share
        self._ranks = {
            path: int((own > 0).sum(1).max()) if own.numel() else 0 for path, own in lengths.items()
        }
        self._counts = {
            rank: divide_components(self._shares, self._count(rank), rank)
            for rank in set(self._ranks.values())
            if rank
        }

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Return the components of each token's experts that react to it most; see ``Chooser``.

        A module without factors gets the experts with their shares as weights.
        """
        experts = self._indices.to(rows.device)[rows]  # [T, K]
        rank = self._ranks.get(path, 0)
        if not rank:
            return Choice(experts, self._shares.to(rows.device)[rows])
        padded = self._a[path].shape[1]
        counts = self._counts[rank].to(rows.device)[rows]  # [T, K]
        readings = compute_readings(x, self._a[path]).float().abs() * self._lengths[path]  # [T, E, R]
        own = readings.gather(1, experts[..., None].expand(-1, -1, padded))  # [T, K, R]
        places = own.argsort(-1, descending=True).argsort(-1)  # a component's place among its expert's
        is_kept = (places < counts[..., None]).float().flatten(1)  # [T, K R]
        kept, chosen = is_kept.topk(min(self._count(rank), is_kept.shape[1]), dim=-1)
        components = (experts[..., None] * padded + torch.arange(padded, device=x.device)).flatten(1)
        scale = (rank / kept.sum(-1, keepdim=True).clamp_min(1)).sqrt()
        return Choice(components.gather(1, chosen), kept * scale, components=padded)

    def _count(self, rank: int) -> int:
        """Return the number of components that a token uses at a layer of this rank."""
        return max(rank, round(self._share * self._indices.shape[1] * rank))
