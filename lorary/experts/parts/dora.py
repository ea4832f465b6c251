"""DoRA: each output of a layer with low-rank factors gets its own magnitude.

    W' = m / |W + b a| · (W + b a)        |·| the norm of each row

So on a known base model it is a scale ``s [O]`` per output, of the base weight and of ``b``.

R rank, I layer input, O layer output.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lorary.experts.factors import Factors
from lorary.experts.parts.contract import Claim, Layer, Placement, Source, Weights
from lorary.experts.parts.fields import claim_by, require_fields, widen
from lorary.experts.peft_keys import PREFIX

# Earlier versions of PEFT wrote it as the weight of a module.
_NAME = re.compile(r"\.lora_(?P<field>magnitude)_vector(\.weight)?$")


@dataclass(frozen=True, eq=False)
class DoraPart:
    """Magnitudes of a layer's outputs.

    Source: DoRA, arXiv:2402.09353.
    """

    magnitude: Tensor
    """Norm of each row of the changed weight, ``[O]``."""

    kind: ClassVar[str] = "dora"
    title: ClassVar[str] = "DoRA magnitudes"
    peft_type: ClassVar[str | None] = "LORA"
    is_linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fields(self.tensors, {"magnitude": "O"})

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return claim_by(_NAME, name)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        require_fields(tensors, {"magnitude": "O" if tensors["magnitude"].ndim == 1 else "1O"})
        magnitude = tensors["magnitude"]
        # Earlier versions of PEFT wrote [1, O].
        return cls(magnitude.flatten())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        return {"magnitude": self.magnitude}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(**tensors)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        return {f"{PREFIX}{path}.lora_magnitude_vector": self.magnitude}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``."""
        return {"use_dora": True}

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``."""
        if layer.shape is None:
            return "is not one of its linear layers"
        if layer.shape[1] != len(self.magnitude):
            return f"has {layer.shape[1]} outputs, the expert's magnitudes are for {len(self.magnitude)}"
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        weight = weights["weight"]
        scale = self.magnitude.to(weight) / torch.linalg.vector_norm(weight, dim=1)
        return {**weights, "weight": weight * scale[:, None]}

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``."""
        weight = layer.weights()["weight"]
        changed = weight.float()
        if factors is not None:
            a, b = (factor.to(weight.device).float() for factor in factors)
            changed = changed + b @ a
        scale = self.magnitude.to(weight.device).float() / torch.linalg.vector_norm(changed, dim=1)
        scaled = None if factors is None else Factors(a, scale[:, None] * b)
        return Placement(scaled, _Rescale(scale))


class _Rescale(nn.Module):
    """Adds what a scale ``s [O]`` of the weight's rows changes: ``(s - 1) (y - bias)``."""

    scale: Tensor

    def __init__(self, scale: Tensor):
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        bias = getattr(module, "bias", None)
        own = widen(y) if bias is None else widen(y) - widen(bias)
        return (self.scale - 1) * own
