"""Rows of an embedding that are replaced: PEFT's trainable tokens.

N tokens, V vocabulary, H width of an embedding.
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
from lorary.files import say_count

_NAME = re.compile(r"(\.token_adapter)?\.trainable_tokens_(?P<field>delta)$")


@dataclass(frozen=True, eq=False)
class TokensPart:
    """Embeddings of some tokens. Where the output layer shares the embeddings, it has them too."""

    values: Tensor
    """Their embeddings, ``[N, H]``."""
    indices: tuple[int, ...]
    """The tokens, N different numbers."""
    is_whole_adapter: bool = False
    """Whether the adapter has nothing else: PEFT's own type, which also saves those of the output layer."""

    kind: ClassVar[str] = "tokens"
    title: ClassVar[str] = "trained tokens"
    peft_type: ClassVar[str | None] = None
    is_linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fields(self.tensors, {"values": "NH"})
        if len(self.indices) != len(self.values) or len(set(self.indices)) < len(self.indices):
            raise ValueError(
                f"it must have {say_count(len(self.values), 'different token')}, one for each of its "
                f"embeddings, found {len(self.indices)}, {len(set(self.indices))} of them different"
            )

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return claim_by(_NAME, name)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        known = source.config.token_indices
        module = f".{source.module}"
        indices = next((own for end, own in known if not end or module.endswith(f".{end}")), None)
        if indices is None:
            raise ValueError("its configuration must list the trained tokens, found none for it")
        return cls(tensors["delta"], indices, source.config.peft_type == "TRAINABLE_TOKENS")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        return {"values": self.values}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(**tensors, indices=self.indices, is_whole_adapter=self.is_whole_adapter)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        wrapper = "" if self.is_whole_adapter else ".token_adapter"
        return {f"{PREFIX}{path}{wrapper}.trainable_tokens_delta": self.values}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``."""
        first = next(iter(parts.values()))
        if first.is_whole_adapter:
            return {
                "peft_type": "TRAINABLE_TOKENS",
                "target_modules": list(parts),
                "token_indices": list(first.indices),
                "init_weights": True,
            }
        return {"trainable_token_indices": {path: list(part.indices) for path, part in parts.items()}}

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``."""
        weight = layer.weights().get("weight")
        if weight is None or weight.ndim != 2 or not weight.is_floating_point():
            return "has no embeddings that can be replaced"
        rows, width = weight.shape
        if width != self.values.shape[1] or max(self.indices) >= rows:
            return (
                f"has {rows} embeddings of {width}, the expert has one of token {max(self.indices)}, of "
                f"{self.values.shape[1]}"
            )
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        weight = weights["weight"].clone()
        weight[list(self.indices)] = self.values.to(weight)
        return {**weights, "weight": weight}

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``."""
        values = self.values.to(layer.weights()["weight"])
        indices = torch.tensor(self.indices, device=values.device)
        if layer.shape is not None:
            return Placement(factors, _ReplaceOutputs(values, indices))
        return Placement(factors, _ReplaceRows(layer.replicate({"weight": values}), indices))


class _ReplaceRows(nn.Module):
    """An embedding that has other rows for some tokens."""

    indices: Tensor

    def __init__(self, rows: nn.Module, indices: Tensor):
        super().__init__()
        self.rows = rows
        self.register_buffer("indices", indices, persistent=False)

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        (ids,) = inputs
        is_own = ids[..., None] == self.indices
        replaced: Tensor = self.rows(is_own.int().argmax(-1))
        return (widen(replaced) - widen(y)) * is_own.any(-1, keepdim=True)


class _ReplaceOutputs(nn.Module):
    """An output layer that has other rows for some tokens."""

    values: Tensor
    indices: Tensor

    def __init__(self, values: Tensor, indices: Tensor):
        super().__init__()
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("indices", indices, persistent=False)

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        (x,) = inputs
        own = widen(nn.functional.linear(x, self.values)) - widen(y[..., self.indices])
        return torch.zeros_like(y, dtype=own.dtype).index_copy(-1, self.indices, own)
