"""The contract of parts: what an expert changes of a module, besides low-rank factors.

R rank, I layer input, O layer output.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from torch import Tensor, nn

from lorary.experts.factors import Factors
from lorary.experts.peft_config import AdapterConfig

Weights = Mapping[str, Tensor]
"""Name of a module's own parameter -> its values; a linear layer's ``weight`` is ``[O, I]``."""


class Claim(NamedTuple):
    """A tensor of an adapter's file that belongs to a part."""

    module: str
    """Path of the module that the part changes; empty for the whole model."""
    field: str
    """Name of the tensor within the part."""


class Source(NamedTuple):
    """The input for reading a part, besides its tensors."""

    module: str
    """Path of the module that the part changes."""
    config: AdapterConfig
    """The adapter's configuration."""
    scale: float
    """PEFT's scale of LoRA at this module."""


class Layer(Protocol):
    """A module of the base model, as parts see it."""

    module: nn.Module
    """The module itself, which parts must not change."""
    shape: tuple[int, int] | None
    """``(I, O)`` of a linear layer; None for other modules."""

    def weights(self) -> dict[str, Tensor]:
        """Return the module's own parameters, not copied; a linear layer's ``weight`` is ``[O, I]``.

        A quantised weight is dequantised.
        """
        ...

    def orient(self, name: str, parameter: Tensor) -> Tensor:
        """Return a parameter as files and the module have it in the form that ``weights`` has."""
        ...

    def replicate(self, weights: Weights) -> nn.Module:
        """Return a module that shares all parameters except the given ones with this, in ``weights``' form.

        An embedding may have another number of rows.
        """
        ...


class Placement(NamedTuple):
    """A part on a module of a model."""

    factors: Factors | None
    """The low-rank factors at this module, changed by the part; None if the expert has none."""
    change: nn.Module | None
    """``change(module, inputs, y) -> [*, O]``: what the part adds to the module's output ``y`` for the
    positional ``inputs`` of one expert's tokens, without low-rank factors. None for nothing."""


class Part(Protocol):
    """One kind of change of one module; each kind is a class in its own file and a line of ``KINDS``."""

    kind: ClassVar[str]
    """Its name in listings, a key of ``KINDS``."""
    title: ClassVar[str]
    """What it is, in the plural, for messages."""
    peft_type: ClassVar[str | None]
    """PEFT's type of adapters with such parts; None if all types can have them."""
    is_linear: ClassVar[bool]
    """Whether it is a fixed change of a linear layer's weight, which can be routed per token and merged."""

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """Return the module and field of a tensor, by its name in an adapter's file; None if not its own.

        Args:
            name: the name, without names of wrappers.
        """
        ...

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """Build a part from the tensors of one module.

        Args:
            tensors: field -> tensor; on the meta device before values are read.
            source: the module and its configuration.

        Raises:
            ValueError: if a tensor is missing, or has a wrong shape, dtype or values; the message goes on
                after "module '…': ".
        """
        ...

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Field -> tensor."""
        ...

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return the same part with tensors of other dtypes or on another device."""
        ...

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """Return the tensors by PEFT's names, for a file with scale 1.

        Args:
            path: the module's path.
            is_target: whether the expert has low-rank factors of this module too.
        """
        ...

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """Return the settings of ``adapter_config.json`` that these parts of an expert need.

        Args:
            parts: module path -> part of this kind.
        """
        ...

    def find_misfit(self, layer: Layer) -> str | None:
        """Return why the part cannot change a module, or None; the text goes on after the module's path."""
        ...

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """Return a module's parameters with this change.

        Args:
            layer: the module.
            weights: float32 parameters of the module, with low-rank factors and the parts of earlier kinds in
                ``KINDS`` added.
        """
        ...

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """Prepare the part for use on a module.

        Args:
            layer: the module, on its device.
            factors: the expert's low-rank factors there; None for none.
        """
        ...
