"""Fixed routing: every token of the model uses the same experts with the same weights.

Shape letters: T tokens, I layer input, K experts that are used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from lorary.errors import UnknownExpert
from lorary.files import quote
from lorary.routing.material import LayerMaterial, Needs
from lorary.routing.option_types import LARGEST, require_types

WHERE = "this model"


@dataclass(frozen=True, kw_only=True)
class FixedConfig:
    """The experts that every token uses, and their weights."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each expert by name: any numbers, also negative, up to 1e30. Other experts are not used."""

    def __post_init__(self) -> None:
        require_types(self)
        wrong = {name: weight for name, weight in self.weights.items() if not abs(weight) <= LARGEST}
        if wrong:
            raise ValueError(f"weights must be finite, found {quote(wrong)} (at most {LARGEST:g})")

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if no expert has a weight.
            UnknownExpert: if a name is not that of one of the experts.
        """
        if not self.weights:
            raise ValueError(
                "fixed routing needs a weight for at least one expert: pass weights={name: weight}"
            )
        for name in self.weights:
            if name not in names:
                raise UnknownExpert(name, names, WHERE)


@dataclass(frozen=True, kw_only=True)
class SingleConfig:
    """The one expert that every token uses."""

    expert: str | None = None
    """Name of the expert."""

    def __post_init__(self) -> None:
        require_types(self)

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if no expert is named.
            UnknownExpert: if it is not one of the experts.
        """
        if self.expert is None:
            raise ValueError("single routing needs the name of an expert: pass expert=name")
        if self.expert not in names:
            raise UnknownExpert(self.expert, names, WHERE)


class FixedRouter(nn.Module):
    """Every token uses the same experts with the same weights; a single expert is the special case.

    Args:
        indices: the experts, ``[K]``, integers from 0.
        weights: ``[K]``, any finite numbers, also negative. None for equal weights with sum 1.

    Raises:
        ValueError: if the two disagree on K, K is 0, or a value is out of range.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"indices": "K", "weights": "K"}

    indices: Tensor
    weights: Tensor

    def __init__(self, indices: Tensor, weights: Tensor | None = None):
        super().__init__()
        if weights is None:
            weights = torch.full(indices.shape, 1 / max(1, indices.numel()), device=indices.device)
        _check_choice(indices, weights)
        self.register_buffer("indices", indices.long())
        self.register_buffer("weights", weights.detach().float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the same for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        # If the model was moved to bfloat16, so were its buffers.
        return self.indices.expand(x.shape[0], -1), self.weights.float().expand(x.shape[0], -1)

    def extra_repr(self) -> str:
        """Show the choice, as ``print(model)`` does."""
        return f"indices={self.indices.tolist()}, weights={self.weights.tolist()}"


def build_fixed(config: FixedConfig, material: LayerMaterial) -> FixedRouter:
    """Build one layer's router with fixed weights.

    Raises:
        ValueError: if no expert has a weight.
        UnknownExpert: if a name is not that of one of the experts.
    """
    names = material.names or ()
    config.check(names)
    indices = torch.tensor([names.index(name) for name in config.weights])
    return FixedRouter(indices, torch.tensor(list(config.weights.values()), dtype=torch.float32))


def build_single(config: SingleConfig, material: LayerMaterial) -> FixedRouter:
    """Build one layer's router to a single expert.

    Raises:
        ValueError: if no expert is named.
        UnknownExpert: if it is not one of the experts.
    """
    names = material.names or ()
    config.check(names)
    return FixedRouter(torch.tensor([names.index(str(config.expert))]))


def _check_choice(indices: Tensor, weights: Tensor) -> None:
    if indices.ndim != 1 or indices.shape != weights.shape or indices.numel() == 0:
        raise ValueError(
            "indices and weights must be [K], one weight per expert and at least one, "
            f"found {list(indices.shape)} and {list(weights.shape)}"
        )
    if indices.is_floating_point() or indices.min() < 0:
        raise ValueError(f"indices must be integers from 0, found {indices.tolist()}")
    if not weights.isfinite().all():
        raise ValueError(f"weights must be finite, found {weights.tolist()}")
