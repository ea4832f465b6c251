"""What routers are built from.

Shape letters: E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor

from lorary.routing.shapes import find_shape_fault

FROM_DATA = {
    "means": "find them with lorary.facts.find_means",
    "gates": "train them with lorary.training.train_gates",
    "embeddings": "find them with lorary.facts.find_embeddings",
}
"""What cannot be computed from experts alone, and where it comes from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMaterial:
    """What is known about the experts at one layer; what the router does not need is left out.

    Raises:
        ValueError: if a tensor has not one row per expert, there is not one name for each, or shapes
            disagree.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {
        "prototypes": "EI",
        "gains": "E",
        "tied_prototypes": "EI",
        "tied_gains": "E",
        "a": "ERI",
        "b": "EOR",
        "gates": "EI",
        "means": "EI",
        "readers": "ERR",
        "offsets": "ER",
        "generic_means": "E",
        "generic_deviations": "E",
    }

    num_experts: int
    """E, how many experts the router may choose from."""
    names: tuple[str, ...] | None = None
    """Their names."""
    prototypes: Tensor | None = None
    """The unit input each expert amplifies most, ``[E, I]``; zeros for an expert without this layer."""
    gains: Tensor | None = None
    """By how much, ``[E]``."""
    tied_prototypes: Tensor | None = None
    """The same over all layers that read this layer's input, taken as one, ``[E, I]``."""
    tied_gains: Tensor | None = None
    """By how much, ``[E]``."""
    a: Tensor | None = None
    """Down-projections, ``[E, R, I]``."""
    b: Tensor | None = None
    """Up-projections, ``[E, O, R]``."""
    gates: Tensor | None = None
    """Trained gates, ``[E, I]``."""
    means: Tensor | None = None
    """Mean input of each expert's own task tokens, ``[E, I]``."""
    readers: Tensor | None = None
    """What turns readings ``a x`` into whitened ones, ``[E, R, R]``, see ``whiten_readings``; zeros for an
    expert without this layer."""
    offsets: Tensor | None = None
    """Where generic tokens lie in them, ``[E, R]``."""
    generic_means: Tensor | None = None
    """Mean over generic requests of how unusual each is to each expert, ``[E]``."""
    generic_deviations: Tensor | None = None
    """Their standard deviation, ``[E]``."""

    def __post_init__(self) -> None:
        for field in fields(self):
            rows = getattr(self, field.name)
            if field.name != "num_experts" and rows is not None and len(rows) != self.num_experts:
                raise ValueError(
                    f"{field.name} must have one row for each of the {self.num_experts} experts, "
                    f"found {len(rows)}"
                )
        tensors = {name: rows for name in self.SHAPES if (rows := getattr(self, name)) is not None}
        fault = find_shape_fault(self.SHAPES, tensors, {"E": self.num_experts})
        if fault:
            raise ValueError(f"what a router is built from must fit together: {fault}")

    def take(self, field: str) -> Tensor:
        """Give one of the tensors.

        Raises:
            ValueError: if it was left out.
        """
        tensor = getattr(self, field)
        if tensor is None:
            raise ValueError(
                f"this router needs {field} for each of the {self.num_experts} experts, found none"
            )
        assert isinstance(tensor, Tensor)
        return tensor
