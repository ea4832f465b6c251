"""A bias beside low-rank factors, PEFT's ``lora_bias``: ``y += bias``.

O layer output.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from lorary.experts.factors import Factors
from lorary.experts.parts.contract import Claim, Layer, Placement, Source, Weights
from lorary.experts.parts.fields import claim_by, require_fields, widen
from lorary.experts.peft_keys import PREFIX
from lorary.experts.peft_scale import fold_scale

_NAME = re.compile(r"\.lora_B\.(?P<field>bias)$")


@dataclass(frozen=True, eq=False)
class AddedBiasPart:
    """A bias that is added to a layer's output, with PEFT's scale folded in."""

    bias: Tensor
    """``[O]``."""

    kind: ClassVar[str] = "added bias"
    title: ClassVar[str] = "biases in lora_B"
    peft_type: ClassVar[str | None] = "LORA"
    is_linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fields(self.tensors, {"bias": "O"})

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return claim_by(_NAME, name)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        bias = tensors["bias"]
        return cls(bias if bias.is_meta else fold_scale(bias, source.scale))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        return {"bias": self.bias}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(**tensors)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        return {f"{PREFIX}{path}.lora_B.bias": self.bias}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``."""
        return {"lora_bias": True}

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``."""
        if layer.shape is None:
            return "is not one of its linear layers"
        if layer.shape[1] != len(self.bias):
            return f"has {layer.shape[1]} outputs, the expert's bias is for {len(self.bias)}"
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        own = weights.get("bias")
        bias = self.bias.to(weights["weight"])
        return {**weights, "bias": bias if own is None else own + bias}

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``."""
        return Placement(factors, AddVector(widen(self.bias).to(layer.weights()["weight"].device)))


class AddVector(nn.Module):
    """Adds a vector to each output."""

    vector: Tensor

    def __init__(self, vector: Tensor):
        super().__init__()
        self.register_buffer("vector", vector, persistent=False)

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        """Return the vector ``[O]``, whatever the inputs."""
        return self.vector.expand(y.shape)
