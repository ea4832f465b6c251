"""Parameters that are replaced: all of a module's (``modules_to_save``, copied embeddings) or its bias.

V vocabulary, O layer output.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from lorary.experts.copied_weights import is_copied_module
from lorary.experts.factors import Factors
from lorary.experts.parts.added_bias import AddVector
from lorary.experts.parts.contract import Claim, Layer, Placement, Source, Weights
from lorary.experts.parts.fields import check_tensor, claim_by, widen
from lorary.experts.peft_keys import PREFIX

# Below a layer with LoRA, the base layer's own parameters.
_NAME = re.compile(r"(?P<base>\.base_layer)?\.(?P<field>weight|bias)$")


@dataclass(frozen=True, eq=False)
class WholePart:
    """Parameters of a module that an expert has instead of the base model's."""

    weight: Tensor | None = None
    """The module's weight, as PyTorch stores it; None for the base model's."""
    bias: Tensor | None = None
    """The module's bias; None for the base model's."""
    is_copy: bool = False
    """Whether PEFT saved them although they were not trained, as it does with embeddings."""

    kind: ClassVar[str] = "whole"
    title: ClassVar[str] = "trained weights or biases of whole modules"
    peft_type: ClassVar[str | None] = None
    is_linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tensors:
            raise ValueError("it must have a weight or a bias, found nothing")
        for field, tensor in self.tensors.items():
            check_tensor(field, tensor)

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return None if ".lora_" in name else claim_by(_NAME, name)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        path = f".{source.module}."
        is_trained = any(f".{module}." in path for module in source.config.modules_to_save)
        # PEFT copies weights; a bias alone was trained, by bias="all".
        is_copied = is_copied_module(source.module) and "weight" in tensors
        return cls(**tensors, is_copy=is_copied and not is_trained)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        found = {"weight": self.weight, "bias": self.bias}
        return {field: tensor for field, tensor in found.items() if tensor is not None}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(**tensors, is_copy=self.is_copy)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        base = ".base_layer" if is_target else ""
        return {f"{PREFIX}{path}{base}.{field}": tensor for field, tensor in self.tensors.items()}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``."""
        saved = [path for path, part in parts.items() if part.weight is not None and not part.is_copy]
        settings: dict[str, Any] = {"modules_to_save": saved} if saved else {}
        if any(part.weight is None for part in parts.values()):
            settings["bias"] = "all"
        return settings

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``."""
        own = layer.weights()
        for field, tensor in self.tensors.items():
            if field not in own:
                return f"has no {field}, the expert has one"
            tensor = layer.orient(field, tensor)
            if own[field].shape != tensor.shape:
                return f"has {field} {list(own[field].shape)}, the expert {list(tensor.shape)}"
            if not own[field].is_floating_point():
                return f"has a quantised {field}, which cannot be replaced: load it without quantisation"
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        own = {field: layer.orient(field, tensor) for field, tensor in self.tensors.items()}
        return {**weights, **{field: tensor.to(weights[field]) for field, tensor in own.items()}}

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``."""
        known = layer.weights()
        own = {field: layer.orient(field, tensor).to(known[field]) for field, tensor in self.tensors.items()}
        if layer.shape is not None and self.weight is None:
            return Placement(factors, AddVector(own["bias"].float() - known["bias"].float()))
        return Placement(factors, Replace(layer.replicate(own)))


class Replace(nn.Module):
    """Adds the difference of a module with other parameters, ``replica``."""

    def __init__(self, replica: nn.Module):
        super().__init__()
        self.replica = replica

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        """Return the difference of the outputs for the same inputs."""
        changed: Tensor = self.replica(*inputs)
        return widen(changed) - widen(y)
