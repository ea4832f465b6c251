"""Low-rank factors of an embedding: ``y += b a[:, id]``.

R rank, V vocabulary, H width of an embedding.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional

from lorary.experts.factors import Factors
from lorary.experts.parts.contract import Claim, Layer, Placement, Source, Weights
from lorary.experts.parts.fields import claim_by, require_fields
from lorary.experts.peft_keys import PREFIX
from lorary.experts.peft_scale import fold_scale

_NAME = re.compile(r"\.lora_embedding_(?P<field>[AB])$")


@dataclass(frozen=True, eq=False)
class EmbeddingPart:
    """Low-rank factors of an embedding, with PEFT's scale folded into ``b``."""

    a: Tensor
    """``[R, V]``."""
    b: Tensor
    """``[H, R]``."""

    kind: ClassVar[str] = "embedding"
    title: ClassVar[str] = "LoRA on embeddings"
    peft_type: ClassVar[str | None] = "LORA"
    is_linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fields(self.tensors, {"a": "RV", "b": "HR"})

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return claim_by(_NAME, name)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        if tensors.keys() != {"A", "B"}:
            raise ValueError(f"it must have lora_embedding_A and _B, found only {', '.join(tensors)}")
        a, b = tensors["A"], tensors["B"]
        return cls(a, b if b.is_meta else fold_scale(b, source.scale))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        return {"a": self.a, "b": self.b}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(**tensors)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        prefix = f"{PREFIX}{path}.lora_embedding_"
        return {f"{prefix}A": self.a, f"{prefix}B": self.b}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``."""
        return {"target_modules": list(parts), "ranks": {path: len(part.a) for path, part in parts.items()}}

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``."""
        weight = layer.weights().get("weight")
        shape = (self.a.shape[1], self.b.shape[0])
        if layer.shape is not None or weight is None or weight.ndim != 2:
            return "is not one of its embeddings"
        if weight.shape != shape:
            return f"has embeddings {list(weight.shape)}, the expert's are {list(shape)}"
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        weight = weights["weight"]
        return {**weights, "weight": weight + (self.b.to(weight) @ self.a.to(weight)).T}

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``."""
        weight = layer.weights()["weight"]
        rows = layer.replicate({"weight": self.a.T.contiguous().to(weight)})
        return Placement(factors, _AddLowRank(rows, self.b.to(weight)))


class _AddLowRank(nn.Module):
    b: Tensor

    def __init__(self, rows: nn.Module, b: Tensor):
        super().__init__()
        self.rows = rows
        self.register_buffer("b", b, persistent=False)

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        # The embedding of a token in rank space, scaled as the model scales its embeddings.
        return functional.linear(self.rows(*inputs), self.b)
