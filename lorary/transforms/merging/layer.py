"""What a merging method is given, one layer of all experts, and what it gives back.

Shape letters: E experts, R rank, S any rank, I layer input, O layer output.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorary.experts import Factors


class LowRank(NamedTuple):
    """A merged weight change ``b @ a`` that is known as factors."""

    a: Tensor
    """``[S, I]``."""
    b: Tensor
    """``[O, S]``."""
    is_sorted: bool = False
    """The rows of ``a`` are orthogonal, the columns of ``b`` too, the first the most important ones."""


Change = LowRank | Tensor
"""A merged weight change: factors, or the dense ``[O, I]`` where entries were chosen one by one."""


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
    """How much each counts."""
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Options in which the experts differ: name -> one value per expert."""
    rank: int | None = None
    """The rank that the merged layer will be cut to, if that is known."""
    grams: Tensor | None = None
    """Sums ``x x^T`` over the inputs that each expert saw, ``[E, I, I]``, where the method needs them."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(O, I)``."""
        return self.pairs[0].b.shape[0], self.pairs[0].a.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """That of all factors."""
        return self.pairs[0].a.dtype

    def spread(self, option: str, value: float) -> tuple[float, ...]:
        """Give each expert's value of an option: its own, or else the one for all."""
        return self.own.get(option) or (value,) * len(self.pairs)


MergeFunction = Callable[[MergeLayer, Any], Change]
"""A method's work on one layer, with the method's own configuration."""
