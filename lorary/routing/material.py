"""The material that routers are built from: facts about the experts, as named tensors.

Shape letters: E experts, I layer input, N rows of one expert, D embedding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from lorary.files import say_count
from lorary.routing.shapes import find_shape_fault

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMaterial:
    """Facts about the experts at one layer, as far as the router needs them.

    Raises:
        ValueError: if a tensor does not have E rows, there are not E names, or shapes disagree.
    """

    num_experts: int
    """E, the number of experts that the router may choose from."""
    names: tuple[str, ...] | None = None
    """Their names."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Name -> tensor; a fact consists of one or several. It is ``[E, …]``, unless its shape begins with
    another letter."""
    shapes: Mapping[str, str] = field(default_factory=dict)
    """Tensor -> a letter for each dimension, such as ``"EI"``. A tensor without an entry has any shape."""

    def __post_init__(self) -> None:
        named = {} if self.names is None else {"names": self.names}
        each = {name: rows for name, rows in self.tensors.items() if self.shapes.get(name, "E")[0] == "E"}
        for name, rows in {**named, **each}.items():
            if len(rows) != self.num_experts:
                raise ValueError(
                    f"{name} must have one row for each of the {say_count(self.num_experts, 'expert')}, "
                    f"found {len(rows)}"
                )
        fault = find_shape_fault(self.shapes, self.tensors, {"E": self.num_experts})
        if fault:
            raise ValueError(f"the tensors that a router is built from must agree on their shapes: {fault}")

    def take(self, name: str) -> Tensor:
        """Return one of the tensors.

        Raises:
            ValueError: if it is missing.
        """
        return _take(self.tensors, name, self.num_experts)


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestMaterial:
    """Facts about the experts, as far as a request router needs them.

    Raises:
        ValueError: if a fact does not have one tensor for each expert.
    """

    num_experts: int
    """E, the number of experts that the router may choose from."""
    layers: Mapping[str, LayerMaterial] = field(default_factory=dict)
    """Module path -> facts of that layer; empty if none are needed."""
    tensors: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    """Facts of the output layer: name -> a tensor per expert, such as embeddings of its examples, ``[N,
    D]``."""
    general: int | None = None
    """Index of the model's general expert, which the router may fall back on; it is not one of the E experts.
    None if there is none, or if all experts build on it, so that it is always on."""
    stands_on_general: bool = False
    """Whether all experts build on a general one."""
    places: tuple[str, ...] | None = None
    """The layers with experts that read every token of a prompt, in the stack's order; None: all of
    ``layers``."""
    output: Callable[[Tensor], Tensor] | None = None
    """The base model's output layer, hidden states ``[*, D]`` -> logits; None if an encoder reads the
    prompts."""

    def __post_init__(self) -> None:
        for name, own in self.tensors.items():
            if len(own) != self.num_experts:
                raise ValueError(
                    f"{name} must be given for each of the {say_count(self.num_experts, 'expert')}, found "
                    f"{len(own)}"
                )

    def list_places(self) -> tuple[str, ...]:
        """List the layers that read every token of a prompt; all, if it is not known which do."""
        return tuple(self.layers) if self.places is None else self.places

    def take(self, name: str) -> tuple[Tensor, ...]:
        """Return one of the tuples of tensors, one tensor per expert.

        Raises:
            ValueError: if it is missing.
        """
        return _take(self.tensors, name, self.num_experts)


def _take(known: Mapping[str, Value], name: str, num_experts: int) -> Value:
    if name not in known:
        raise ValueError(
            f"this router needs {name} for each of the {say_count(num_experts, 'expert')}, found none"
        )
    return known[name]
