"""A sparse change of a layer's weight, PEFT's SHiRA: ``W[i, j] += v`` for some entries.

N entries, I layer input, O layer output, T tokens.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lorary.experts.factors import Factors
from lorary.experts.parts.contract import Claim, Layer, Placement, Source, Weights
from lorary.experts.parts.fields import claim_by, require_fields, widen
from lorary.experts.peft_keys import PREFIX

_NAME = re.compile(r"\.shira_(?P<field>weight|indices)$")
_INTEGERS = (torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8)
_LARGEST = 2**31 - 1
# Numbers of a gathered [T, N] block.
_BLOCK = 2**24


@dataclass(frozen=True, eq=False)
class SparsePart:
    """Changes of single entries of a linear layer's weight, in the order of rows and columns.

    Source: SHiRA, arXiv:2406.13175.
    """

    values: Tensor
    """What is added, ``[N]``."""
    indices: Tensor
    """Row (output) and column (input) of each entry, ``[2, N]`` int64, each entry once."""
    rank: int = 1
    """PEFT's ``r``: a layer has N = r (I + O) entries."""

    kind: ClassVar[str] = "sparse"
    title: ClassVar[str] = "sparse changes"
    peft_type: ClassVar[str | None] = "SHIRA"
    is_linear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_fields({"values": self.values}, {"values": "N"})
        indices = self.indices
        if not isinstance(indices, Tensor) or indices.shape != (2, len(self.values)):
            found = list(indices.shape) if isinstance(indices, Tensor) else type(indices).__name__
            raise ValueError(f"indices must be [2, {len(self.values)}], found {found}")
        if indices.dtype not in _INTEGERS:
            raise ValueError(f"indices must be whole numbers, found {indices.dtype}")
        if indices.is_meta:
            return
        indices = indices.long()
        if int(indices.min()) < 0 or int(indices.max()) > _LARGEST:
            raise ValueError(
                f"indices must be from 0 to {_LARGEST}, found {int(indices.min())} to {int(indices.max())}"
            )
        places = indices[0] * (int(indices[1].max()) + 1) + indices[1]
        places, order = places.sort()
        if bool((places[1:] == places[:-1]).any()):
            raise ValueError("indices must have each entry once, found one twice")
        object.__setattr__(self, "indices", indices[:, order])
        object.__setattr__(self, "values", self.values[order])

    @classmethod
    def claim(cls, name: str) -> Claim | None:
        """See ``Part``."""
        return claim_by(_NAME, name)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], source: Source) -> Self:
        """See ``Part``."""
        if tensors.keys() != {"weight", "indices"}:
            raise ValueError(
                f"it must have shira_weight and shira_indices, found only {', '.join(tensors) or 'nothing'}"
            )
        indices = tensors["indices"]
        # PEFT on Windows writes them as floating-point numbers.
        if indices.dtype == torch.float32:
            whole = indices if indices.is_meta else indices.clamp(-1, _LARGEST).round()
            if not indices.is_meta and not torch.equal(whole, indices):
                raise ValueError("shira_indices must be whole numbers")
            indices = whole.long()
        return cls(tensors["weight"], indices, source.config.rank)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """See ``Part``."""
        return {"values": self.values, "indices": self.indices}

    def replace_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See ``Part``."""
        return type(self)(**tensors, rank=self.rank)

    def name_tensors(self, path: str, is_target: bool) -> dict[str, Tensor]:
        """See ``Part``."""
        prefix = f"{PREFIX}{path}.shira_"
        return {f"{prefix}weight": self.values, f"{prefix}indices": self.indices.int()}

    @classmethod
    def configure(cls, parts: Mapping[str, Self]) -> dict[str, Any]:
        """See ``Part``."""
        ranks = {part.rank for part in parts.values()}
        if len(ranks) > 1:
            raise ValueError(f"sparse changes of one expert must have one rank, found {sorted(ranks)}")
        return {
            "r": ranks.pop(),
            "target_modules": list(parts),
            "mask_type": "random",
            "init_weights": True,
        }

    def find_misfit(self, layer: Layer) -> str | None:
        """See ``Part``."""
        if layer.shape is None:
            return "is not one of its linear layers"
        rows, columns = self.indices.amax(dim=1).tolist()
        if rows >= layer.shape[1] or columns >= layer.shape[0]:
            return (
                f"has a weight [{layer.shape[1]}, {layer.shape[0]}], the expert changes its entry "
                f"[{rows}, {columns}]"
            )
        return None

    def fold(self, weights: Weights, layer: Layer) -> dict[str, Tensor]:
        """See ``Part``."""
        weight = weights["weight"]
        rows, columns = self.indices.to(weight.device)
        change = self.values.to(weight)
        return {**weights, "weight": weight.index_put((rows, columns), change, accumulate=True)}

    def place(self, layer: Layer, factors: Factors | None) -> Placement:
        """See ``Part``."""
        weight = layer.weights()["weight"]
        assert layer.shape is not None
        dtype = weight.dtype if weight.is_floating_point() else torch.bfloat16
        return Placement(
            factors,
            _MultiplySparse(
                self.values.to(weight.device, dtype), self.indices.to(weight.device), layer.shape
            ),
        )


class _MultiplySparse(nn.Module):
    """Adds ``S x`` for a sparse ``S [O, I]``."""

    values: Tensor
    indices: Tensor

    def __init__(self, values: Tensor, indices: Tensor, shape: tuple[int, int]):
        super().__init__()
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("indices", indices, persistent=False)
        self._width_in, self._width_out = shape

    def forward(self, module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        (x,) = inputs
        rows, columns = self.indices
        size = self._width_in * self._width_out
        # A dense matrix costs as much as one of the base layer; it is faster for many tokens or entries.
        if x.shape[:-1].numel() * len(self.values) > min(size, _BLOCK):
            dense = self.values.new_zeros(self._width_out, self._width_in)
            dense = dense.index_put((rows, columns), self.values).to(x.dtype)
            return functional.linear(x, dense)
        products = widen(x[..., columns]) * widen(self.values)
        zeros = products.new_zeros(*y.shape[:-1], self._width_out)
        return zeros.index_add(-1, rows, products)
