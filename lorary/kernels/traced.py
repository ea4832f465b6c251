"""The operators as ``torch.compile`` and CUDA graphs see them: names in a graph, called when it runs.

Without gradients only; if gradients are needed, plain PyTorch is traced.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.kernels import cpu
from lorary.kernels.operators import Operators
from lorary.kernels.triton_modules import import_triton


@dataclass
class Traced:
    """The operators of inference, as nodes of a graph; see ``cpu.py``."""

    FOR_ANY_SIZE: bool
    """Whether they are Triton's."""

    def mix_rows(
        self,
        x: Tensor,
        a: Tensor,
        b_t: Tensor,
        indices: Tensor,
        weights: Tensor,
        onto: Tensor | None,
        combine: str,
        ranks: Tensor | None = None,
    ) -> Tensor:
        """Shrink, weight and expand."""
        return _mix_rows(x, a, b_t, indices, weights, onto, combine, ranks, self.FOR_ANY_SIZE)

    def choose_best(
        self, scores: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Keep the best scores and compute their weights."""
        return _choose_best(scores, top_k, temperature, abstain, self.FOR_ANY_SIZE)

    def choose_along(
        self, x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Score along prototypes, then do the same."""
        return _choose_along(x, prototypes, top_k, temperature, abstain, self.FOR_ANY_SIZE)


def _find(is_triton: bool) -> Operators:
    operators: Operators = import_triton("ops") if is_triton else cpu
    return operators


@torch.library.custom_op("lorary::mix_rows", mutates_args=())
def _mix_rows(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None,
    is_triton: bool,
) -> Tensor:
    return _find(is_triton).mix_rows(x, a, b_t, indices, weights, onto, combine, ranks)


@_mix_rows.register_fake
def _(x, a, b_t, indices, weights, onto, combine, ranks, is_triton):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], b_t.shape[2])


@torch.library.custom_op("lorary::choose_best", mutates_args=())
def _choose_best(
    scores: Tensor, top_k: int, temperature: float, abstain: float | None, is_triton: bool
) -> tuple[Tensor, Tensor]:
    return _find(is_triton).choose_best(scores, top_k, temperature, abstain)


@torch.library.custom_op("lorary::choose_along", mutates_args=())
def _choose_along(
    x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None, is_triton: bool
) -> tuple[Tensor, Tensor]:
    return _find(is_triton).choose_along(x, prototypes, top_k, temperature, abstain)


@_choose_best.register_fake
def _(scores, top_k, temperature, abstain, is_triton):  # type: ignore[no-untyped-def]
    return _empty_choice(scores, top_k)


@_choose_along.register_fake
def _(x, prototypes, top_k, temperature, abstain, is_triton):  # type: ignore[no-untyped-def]
    return _empty_choice(x, top_k)


def _empty_choice(x: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    indices = x.new_empty(x.shape[0], top_k, dtype=torch.int64)
    return indices, x.new_empty(x.shape[0], top_k, dtype=torch.float32)


OPERATORS: Mapping[str, Operators | None] = {"cpu": Traced(False), "triton": Traced(True), "none": None}
"""By kind."""
