"""``mix`` by compiled operators, which compute only the experts of each token, in few calls.

Gradients are computed by the same operators with the roles of the factors exchanged.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lorary.kernels import Operators, cpu
from lorary.kernels.operators import TrainingOperators
from lorary.kernels.triton_modules import load_triton


def mix_compiled(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    combine: str,
    onto: Tensor | None = None,
    ranks: Tensor | None = None,
    operators: Operators = cpu,
) -> Tensor:
    """Shrink, weigh and expand in one call; see ``mix``. Sums, weights and rank space are float32 or wider.

    Args:
        x: ``[T, I]``.
        a: ``[E, R, I]``.
        b_t: ``[E, R, O]``.
        indices: ``[T, K]`` int64.
        weights: ``[T, K]`` of ``sum_dtype``.
        combine: ``"outputs"`` or ``"factors"``.
        onto: a tensor that the sum is added to, ``[T, O]``; None for nothing.
        ranks: ``[E]``; None for R each.
        operators: the operators for the device of ``x``.

    Returns:
        ``[T, O]``.
    """
    inputs = x, a, b_t, indices, weights, onto
    if needs_gradients(*inputs):
        return _Mix.apply(*inputs, combine, ranks, operators)
    return operators.mix_rows(*inputs, combine, ranks)


def mix_triton(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    combine: str,
    onto: Tensor | None = None,
    ranks: Tensor | None = None,
) -> Tensor:
    """Compute the same as ``mix_compiled``, by the operators for CUDA devices."""
    return mix_compiled(x, a, b_t, indices, weights, combine, onto, ranks, load_triton())


def needs_gradients(*inputs: Tensor | None) -> bool:
    """Return whether gradients of a function of these tensors will be recorded."""
    return torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in inputs)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        a: Tensor,
        b_t: Tensor,
        indices: Tensor,
        weights: Tensor,
        onto: Tensor | None,
        combine: str,
        ranks: Tensor | None,
        operators: TrainingOperators,
    ) -> Tensor:
        y, shrunk = operators.mix_rows_kept(x, a, b_t, indices, weights, onto, combine, ranks)
        ctx.save_for_backward(x, a, b_t, indices, weights, shrunk)
        ctx.combine, ctx.operators = combine, operators
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b_t, indices, weights, shrunk = ctx.saved_tensors
        operators: TrainingOperators = ctx.operators
        needs_x, needs_a, needs_b, _, needs_weights, needs_onto, *_ = ctx.needs_input_grad
        raised = operators.shrink_rows(grad, b_t, indices)  # the output's gradient in rank space, [T, K, R]
        weight = weights[:, :, None]
        if ctx.combine == "factors":
            # y = (Σ w b)(Σ w a) x: by the product rule each weight has two terms.
            shrunk_sum = (weight * shrunk).sum(1, keepdim=True)
            raised_sum = (weight * raised).sum(1, keepdim=True)
            to_weights = (raised * shrunk_sum + shrunk * raised_sum).sum(-1)
            shrunk, raised = shrunk_sum, raised_sum
        else:
            to_weights = (raised * shrunk).sum(-1)
        return (
            operators.expand_rows(weight * raised, a, indices) if needs_x else None,
            operators.gather_rows(weight * raised, x, indices, len(a)) if needs_a else None,
            operators.gather_rows(weight * shrunk, grad, indices, len(a)) if needs_b else None,
            None,
            to_weights if needs_weights else None,
            grad if needs_onto else None,
            None,
            None,
            None,
        )
