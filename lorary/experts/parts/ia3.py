"""IA3: a scale of each output of a layer, with its bias, or of each input.

I layer input, O layer output.
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

_NAME = re.compile(r"\.(?P<field>ia3_l)$")


@dataclass(frozen=True, eq=False)
class Ia3Part:
    """A scale of each output or input of a linear layer.

    Source: IA3, arXiv:2205.05638.
    """

    scale: Tensor
    """``[O]`` or ``[I]``."""
    scales_inputs: bool
    """Whether inputs are scaled, PEFT's ``feedforward_modules``; else outputs, with the bias."""

    kind: ClassVar[str] = "ia3"
    title: ClassVar[str] = "IA3 scales"
    peft_type: ClassVar[str | None] = "IA3"
    is_linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fields(self.tensors, {"scale": "N"})

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return claim_by(_NAME, name)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        stored = tensors["ia3_l"]
        if stored.ndim != 2 or 1 not in stored.shape:
            raise ValueError(
                f"ia3_l must be [1, I] (inputs) or [O, 1] (outputs), found shape {list(stored.shape)}"
            )
        return cls(stored.flatten(), stored.shape[0] == 1)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        return {"scale": self.scale}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(**tensors, scales_inputs=self.scales_inputs)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        return {f"{PREFIX}{path}.ia3_l": self.scale[None] if self.scales_inputs else self.scale[:, None]}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``."""
        inputs = [path for path, part in parts.items() if part.scales_inputs]
        return {"target_modules": list(parts), "feedforward_modules": inputs, "init_ia3_weights": True}

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``."""
        if layer.shape is None:
            return "is not one of its linear layers"
        side, width = ("inputs", layer.shape[0]) if self.scales_inputs else ("outputs", layer.shape[1])
        if width != len(self.scale):
            return f"has {width} {side}, the expert's scales are for {len(self.scale)}"
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        scale = self.scale.to(weights["weight"])
        if self.scales_inputs:
            return {**weights, "weight": weights["weight"] * scale}
        folded = {**weights, "weight": weights["weight"] * scale[:, None]}
        return {**folded, "bias": weights["bias"] * scale} if "bias" in weights else folded

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``."""
        scale = self.scale.float().to(layer.weights()["weight"].device)
        return Placement(factors, (_ScaleInputs if self.scales_inputs else _ScaleOutputs)(scale))


class _ScaleOutputs(nn.Module):
    scale: Tensor

    def __init__(self, scale: Tensor):
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        return (self.scale - 1) * widen(y)


class _ScaleInputs(nn.Module):
    scale: Tensor

    def __init__(self, scale: Tensor):
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        (x,) = inputs
        changed: Tensor = module((x * self.scale).to(x.dtype))
        return widen(changed) - widen(y)
