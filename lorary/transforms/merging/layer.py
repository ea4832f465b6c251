"""The input of a merging method, one layer of all experts, and its output, a merged weight change.

Shape letters: E experts, R rank, S any rank, I layer input, O layer output.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorary.experts import Factors


class LowRank(NamedTuple):
    """A merged weight change ``b @ a``, as factors."""

    a: Tensor
    """``[S, I]``."""
    b: Tensor
    """``[O, S]``."""
    is_sorted: bool = False
    """Whether rows of ``a`` and columns of ``b`` are orthogonal, in descending order of singular values."""


Change = LowRank | Tensor
"""A merged weight change: factors, or a dense matrix ``[O, I]`` from entry-wise methods."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MergeLayer:
    """One layer of all experts."""

    path: str
    """The module's path."""
    names: tuple[str, ...]
    """The experts, E of them."""
    pairs: tuple[Factors, ...]
    """Their factors, all float32 or all float64; an expert without this layer has zeros of rank 1."""
    weights: tuple[float, ...]
    """One weight per expert."""
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Options with a value for each expert: option -> one value per expert."""
    rank: int | None = None
    """The rank to which the merged layer is truncated, if it is known."""
    grams: Tensor | None = None
    """Sums of ``x x^T`` over each expert's inputs, ``[E, I, I]``, if the method needs them."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(O, I)``."""
        return self.pairs[0].b.shape[0], self.pairs[0].a.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of all factors."""
        return self.pairs[0].a.dtype

    def spread(self, option: str, value: float) -> tuple[float, ...]:
        """Return one value of an option per expert: the experts' own values, or else ``value`` for all."""
        return self.own.get(option) or (value,) * len(self.pairs)


MergeFunction = Callable[[MergeLayer, Any], Change]
"""A method: a function of a layer and the method's configuration."""
