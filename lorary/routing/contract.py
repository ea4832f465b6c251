"""The contract of routing: for a layer and its tokens, which experts, with which weights.

Who chooses is passed to a call of the model; a layer asks it for each of its inputs. Shape letters: T tokens,
I layer input, K experts kept per token, P requests of a call.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Subset(NamedTuple):
    """The experts in use, where they are known beforehand."""

    experts: slice | Tensor
    """Their places in the stacks: neighbours as a slice, else ``[U]``."""
    indices: Tensor
    """Each token's experts by their numbers among these, ``[T, K]``."""


class Choice(NamedTuple):
    """Which experts each token uses at one layer."""

    indices: Tensor
    """Places in the stacks, ``[T, K]``, int64."""
    weights: Tensor
    """Their weights, ``[T, K]``; 0 leaves an expert out."""
    combine: str = "outputs"
    """``"outputs"`` or ``"factors"``, see ``lorary.models.mix``."""
    subset: Subset | None = None
    """The experts in use, if they are few and known beforehand: a layer may then slice their stacks."""


class Chooser(Protocol):
    """Chooses experts for the tokens of a call: by name, by layer routers, or in a way of a user's own."""

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Choose for one layer.

        Args:
            path: the layer's module path.
            x: its input, ``[T, I]``.
            rows: which request of the call each token belongs to, ``[T]`` int64; -1 for padding. All layers
                of a call that read the same tokens are given the same tensor.

        Returns:
            The choice; None for the base model alone.
        """
        ...


class LayerRouters:
    """Chooses by a router for each layer: token by token, whatever request a token belongs to.

    Args:
        routers: module path -> a module ``x [T, I] -> (indices [T, K], weights [T, K])``; None for the base
            alone at that layer.
        combine: ``"outputs"`` or ``"factors"``.
    """

    def __init__(self, routers: Mapping[str, nn.Module | None], combine: str = "outputs"):
        self.routers = dict(routers)
        self.combine = combine

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Ask the layer's router; see ``Chooser``."""
        router = self.routers[path]
        if router is None:
            return None
        indices, weights = router(x)
        return Choice(indices, weights, self.combine)


class Mixed:
    """Lets each request of a call have a chooser of its own.

    Args:
        parts: requests and their chooser, each request at most once; the others use the base model alone.

    Raises:
        ValueError: if a request is given twice or is negative.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[int], Chooser]]):
        everyone = [row for rows, _ in parts for row in rows]
        if len(set(everyone)) < len(everyone) or min(everyone, default=0) < 0:
            raise ValueError(f"each request must have one chooser, found requests {sorted(everyone)[:20]}")
        self._choosers = [chooser for _, chooser in parts]
        # Request -> the number of its part; the last row is padding's.
        table = torch.full((max(everyone, default=-1) + 2,), -1)
        for number, (rows, _) in enumerate(parts):
            table[list(rows)] = number
        self._table = table
        self._last: tuple[Tensor, list[Tensor]] | None = None

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Ask each part's chooser about its own tokens; see ``Chooser``.

        Raises:
            ValueError: if several experts of a token are combined in different ways.
        """
        if torch.compiler.is_compiling():
            return self._choose_for_all(path, x, rows)
        places = self._divide(rows)
        asked = zip(self._choosers, places, strict=True)
        found = [
            (own, choice)
            for chooser, own in asked
            if len(own) and (choice := chooser.choose(path, x[own], rows[own])) is not None
        ]
        if not found:
            return None
        top_k = max(choice.indices.shape[1] for _, choice in found)
        indices = rows.new_zeros(len(rows), top_k)
        weights = x.new_zeros(len(rows), top_k, dtype=_promote_dtypes([choice for _, choice in found]))
        for own, choice in found:
            kept = choice.indices.shape[1]
            # Expert 0 with weight 0 fills a row up; that costs nothing.
            indices[own, :kept] = choice.indices
            weights[own, :kept] = choice.weights.to(weights.dtype)
        return Choice(indices, weights, _agree_on_combine([choice for _, choice in found]))

    def _divide(self, rows: Tensor) -> list[Tensor]:
        """Find the tokens of each part; found once for all layers of a call."""
        last = self._last
        if last is not None and last[0] is rows:
            return last[1]
        parts = self._number_parts(rows)
        places = [(parts == number).nonzero().squeeze(1) for number in range(len(self._choosers))]
        self._last = rows, places
        return places

    def _number_parts(self, rows: Tensor) -> Tensor:
        """Give the number of each token's part, ``[T]``; -1 for requests that are in none."""
        table = self._table.to(rows.device)
        return table[rows.clamp(max=len(table) - 1)]

    def _choose_for_all(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Let every chooser choose for all tokens, so that no shape depends on their numbers of tokens."""
        parts = self._number_parts(rows)[:, None]
        found = [
            (parts == number, choice)
            for number, chooser in enumerate(self._choosers)
            if (choice := chooser.choose(path, x, rows)) is not None
        ]
        if not found:
            return None
        return Choice(
            torch.cat([choice.indices for _, choice in found], 1),
            torch.cat([choice.weights * is_own for is_own, choice in found], 1),
            _agree_on_combine([choice for _, choice in found]),
        )


def _promote_dtypes(choices: Sequence[Choice]) -> torch.dtype:
    return reduce(torch.promote_types, (choice.weights.dtype for choice in choices))


def _agree_on_combine(choices: Sequence[Choice]) -> str:
    """Give the one way to combine; a single expert comes out the same either way."""
    ways = {choice.combine for choice in choices if choice.indices.shape[1] > 1} or {choices[0].combine}
    if len(ways) > 1:
        raise ValueError("requests of one call must combine experts in one way, found outputs and factors")
    return ways.pop()
