"""The contract of routing: a chooser returns the experts, with weights, of a layer's tokens.

A chooser is an argument of a call of the model; each layer calls it with its input.

Shape letters: T tokens, I layer input, K experts kept per token, U experts in use.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Subset(NamedTuple):
    """The experts in use, if they are known in advance."""

    experts: slice | Tensor
    """Their places in the stacks: a slice if they are adjacent, else ``[U]``."""
    indices: Tensor
    """Each token's experts as indices among these, ``[T, K]``."""


class Choice(NamedTuple):
    """The experts that each token uses at one layer."""

    indices: Tensor
    """Places of the experts in the stacks, ``[T, K]``, int64."""
    weights: Tensor
    """Their weights, ``[T, K]``; 0 excludes an expert."""
    combine: str = "outputs"
    """``"outputs"`` or ``"factors"``, see ``lorary.models.mix``."""
    subset: Subset | None = None
    """The experts in use, if they are few and known in advance; a layer may then slice their stacks."""
    general: Tensor | None = None
    """Weight of the model's general expert for each token, ``[T]``; None: 1. Its output is added separately
    from the others. Only models whose experts build on one use it."""
    components: int | None = None
    """R, if the indices are not those of experts but of their components, the pairs of a row of ``a`` and a
    column of ``b``: row r of expert e is ``e · R + r``. Outputs of components are added: ``combine`` is
    ``outputs``."""


class Chooser(Protocol):
    """Chooses experts for the tokens of a call, for example by name or by layer routers."""

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Choose for one layer.

        Args:
            path: the layer's module path.
            x: its input, ``[T, I]``.
            rows: the request of the call that each token belongs to, ``[T]`` int64; -1 for padding. It is the
                same tensor object for all layers of a call with the same tokens, so a chooser may cache by
                it.

        Returns:
            The choice; None for the base model alone, without its general expert.
        """
        ...


class LayerRouters:
    """Chooses by a router for each layer, token by token; the requests of tokens do not matter.

    Args:
        routers: module path -> a module ``x [T, I] -> (indices [T, K], weights [T, K])``; None for the base
            alone at that layer.
        combine: ``"outputs"`` or ``"factors"``.
    """

    def __init__(self, routers: Mapping[str, nn.Module | None], combine: str = "outputs"):
        self.routers = dict(routers)
        self.combine = combine

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Call the layer's router; see ``Chooser``."""
        # Modules that only experts used by name change have no router.
        router = self.routers.get(path)
        if router is None:
            return None
        indices, weights = router(x)
        return Choice(indices, weights, self.combine)


class Mixed:
    """A chooser that divides the requests of a call among several choosers.

    Args:
        parts: pairs of some requests and their chooser, each request in one pair at most; requests in no pair
            use the base model alone.

    Raises:
        ValueError: if a request is in two pairs or is negative.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[int], Chooser]]):
        everyone = [row for rows, _ in parts for row in rows]
        if len(set(everyone)) < len(everyone) or min(everyone, default=0) < 0:
            raise ValueError(
                "requests must be numbers from 0, each with one chooser, found requests "
                f"{sorted(everyone)[:20]}"
            )
        self._choosers = [chooser for _, chooser in parts]
        # Request -> number of its part. The last entry, -1, serves padding (index -1) and unknown requests.
        table = torch.full((max(everyone, default=-1) + 2,), -1)
        for number, (rows, _) in enumerate(parts):
            table[list(rows)] = number
        self._table = table
        self._last: tuple[Tensor, list[Tensor]] | None = None

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Call each part's chooser with its own tokens; see ``Chooser``.

        Raises:
            ValueError: if two choosers combine several experts of a token in different ways.
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
        components = max((choice.components or 0 for _, choice in found), default=0) or None
        if components is not None:
            found = [(own, split_experts(choice, components)) for own, choice in found]
        top_k = max(choice.indices.shape[1] for _, choice in found)
        indices = rows.new_zeros(len(rows), top_k)
        weights = x.new_zeros(len(rows), top_k, dtype=_promote_dtypes([choice for _, choice in found]))
        for own, choice in found:
            kept = choice.indices.shape[1]
            # Rows are padded with expert 0 at weight 0, which the operators skip.
            indices[own, :kept] = choice.indices
            weights[own, :kept] = choice.weights.to(weights.dtype)
        combine = _agree_on_combine([choice for _, choice in found])
        return Choice(indices, weights, combine, general=_join_general(found, weights), components=components)

    def _divide(self, rows: Tensor) -> list[Tensor]:
        """Return the tokens of each part, computed once for all layers of a call."""
        last = self._last
        if last is not None and last[0] is rows:
            return last[1]
        parts = self._number_parts(rows)
        places = [(parts == number).nonzero().squeeze(1) for number in range(len(self._choosers))]
        self._last = rows, places
        return places

    def _number_parts(self, rows: Tensor) -> Tensor:
        """Return the number of each token's part, ``[T]``; -1 for requests that are in none."""
        table = self._table.to(rows.device)
        return table[rows.clamp(max=len(table) - 1)]

    def _choose_for_all(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Call every chooser with all tokens: in a compiled graph, shapes must not depend on values."""
        parts = self._number_parts(rows)[:, None]
        found = [
            (parts == number, choice)
            for number, chooser in enumerate(self._choosers)
            if (choice := chooser.choose(path, x, rows)) is not None
        ]
        if not found:
            return None
        components = max((choice.components or 0 for _, choice in found), default=0) or None
        if components is not None:
            found = [(is_own, split_experts(choice, components)) for is_own, choice in found]
        return Choice(
            torch.cat([choice.indices for _, choice in found], 1),
            torch.cat([choice.weights * is_own for is_own, choice in found], 1),
            _agree_on_combine([choice for _, choice in found]),
            general=_sum_general(found),
            components=components,
        )


def split_experts(choice: Choice, rank: int) -> Choice:
    """Return a choice of experts as one of all their components; one of components as it is.

    Args:
        choice: the choice, which combines outputs, or one expert per token.
        rank: R, the number of components of an expert in the layer's stacks.
    """
    if choice.components is not None:
        return choice
    rows = torch.arange(rank, device=choice.indices.device)
    indices = (choice.indices[..., None] * rank + rows).flatten(1)
    weights = choice.weights.repeat_interleave(rank, 1)
    # A single expert is the same in both modes of combining.
    combine = choice.combine if choice.indices.shape[1] > 1 else "outputs"
    return Choice(indices, weights, combine, None, choice.general, rank)


def join_components(choice: Choice) -> Choice:
    """Return a choice of components as one of experts, for modules without components.

    An expert may occur several times; its weights add up to the mean over all its components.
    """
    if choice.components is None:
        return choice
    rank = choice.components
    return choice._replace(indices=choice.indices // rank, weights=choice.weights / rank, components=None)


def _join_general(found: Sequence[tuple[Tensor, Choice]], weights: Tensor) -> Tensor | None:
    """Return the general expert's weights of all tokens; those in no part use the base model alone."""
    if sum(len(own) for own, _ in found) == len(weights) and all(each.general is None for _, each in found):
        return None
    general = weights.new_zeros(len(weights))
    for own, choice in found:
        general[own] = 1.0 if choice.general is None else choice.general.to(general.dtype)
    return general


def _sum_general(found: Sequence[tuple[Tensor, Choice]]) -> Tensor:
    """Return the same from choices for all tokens, each with a mask ``[T, 1]`` of its own tokens."""
    return torch.stack(
        [is_own[:, 0] * (1.0 if choice.general is None else choice.general) for is_own, choice in found]
    ).sum(0)


def _promote_dtypes(choices: Sequence[Choice]) -> torch.dtype:
    return reduce(torch.promote_types, (choice.weights.dtype for choice in choices))


def _agree_on_combine(choices: Sequence[Choice]) -> str:
    """Return the common mode of combining; choices of one expert per token agree with both."""
    ways = {choice.combine for choice in choices if choice.indices.shape[1] > 1} or {choices[0].combine}
    if len(ways) > 1:
        raise ValueError(
            "requests of one call must combine experts in the same way, found outputs and factors: use one, "
            "or two calls"
        )
    return ways.pop()
