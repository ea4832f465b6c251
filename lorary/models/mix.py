"""The operator ``mix``: the weighted outputs of each token's experts among many low-rank experts.

E experts, R rank (zero-padded), I layer input, O layer output, T tokens, K experts per token.

    outputs    y_t = sum_k w_tk b_e a_e x_t                    merge after the product
    factors    y_t = (sum_k w_tk b_e) (sum_k w_tk a_e) x_t     merge before the product

Each back end has three steps, forward and backward: *shrink* (``a x``, to rank space), weighting there, and
*expand* (``b z``, to the output). No back end makes a tensor of size T×E×O; T×K×R×I occurs for few tokens
only.
"""

import torch
from torch import Tensor

from lorary.kernels.checks import check_mix
from lorary.models.mix_backends import BACKENDS, COMPILED, Backend, find_backend, require_backend
from lorary.models.mix_checks import check_kinds, check_shapes, convert
from lorary.models.mix_compiled import mix_compiled
from lorary.models.mix_dense import mix_dense


def mix(
    x: Tensor,
    a: Tensor,
    b: Tensor,
    indices: Tensor,
    weights: Tensor,
    combine: str = "outputs",
    backend: str | None = None,
    onto: Tensor | None = None,
    ranks: Tensor | None = None,
) -> Tensor:
    """Compute the weighted sum of the outputs of each token's experts.

    Args:
        x: layer inputs, ``[T, I]``.
        a: down-projections, ``[E, R, I]``.
        b: up-projections, ``[E, O, R]``; fastest as a transposed view of contiguous ``[E, R, O]``.
        indices: the experts of each token, ``[T, K]`` integers in ``[0, E)``; one may occur twice.
        weights: their weights, ``[T, K]``; 0 excludes an expert.
        combine: ``"outputs"`` or ``"factors"``, as above.
        backend: a key of ``BACKENDS``; None for the fastest one at these sizes.
        onto: a tensor that the sum is added to, such as the base layer's output, ``[T, O]`` in the dtype of
            ``x``; None for nothing.
        ranks: number of the R rows that each expert uses, ``[E]`` integers in ``[0, R]``; the other rows of
            its factors must be zeros, and some back ends skip them. None for R each.

    Returns:
        ``[T, O]`` in the dtype of ``x``. Differentiable in ``x``, ``a``, ``b``, ``weights`` and ``onto``.

    Raises:
        TypeError: if an argument is not a tensor.
        ValueError: if shapes disagree, a dtype is complex or of another kind than stated here, ``combine`` or
            ``backend`` is unknown, or the back end does not support these tensors.
        RuntimeError: if an index is not in [0, E), or a rank not in [0, R]. On a GPU it is raised when the
            host next waits for the device.

    Source: LoRA, arXiv:2106.09685; Arrow, arXiv:2405.11157 (``factors``).
    """
    check_kinds(x=x, a=a, b=b, indices=indices, weights=weights, onto=onto, ranks=ranks)
    check_shapes(x, a, b, indices, weights, onto, ranks)
    # Asynchronous, so that the host does not wait for a GPU.
    is_known = (indices >= 0) & (indices < len(a))
    torch._assert_async(is_known.all(), f"indices must be in [0, {len(a)}), the number of experts")
    if ranks is not None:
        ranks = ranks.long()
        is_rank = (ranks >= 0) & (ranks <= a.shape[1])
        torch._assert_async(is_rank.all(), f"ranks must be in [0, {a.shape[1]}], the rank of the factors")
    b_t = b.transpose(1, 2)
    if backend is None:
        return mix_stacks(x, a, b_t, indices, weights, combine, onto, ranks)
    require_backend(backend, x)
    x, a, b_t, indices, weights, onto = convert(x, a, b_t, indices, weights, onto)
    if indices.numel() and backend in COMPILED:
        return BACKENDS[backend](x, a, b_t, indices, weights, combine, onto, ranks)
    plain = BACKENDS[backend] if indices.numel() else mix_dense
    return _mix_plain(plain, x, a, b_t, indices, weights, combine, onto, ranks)


def mix_stacks(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    combine: str,
    onto: Tensor | None,
    ranks: Tensor | None,
) -> Tensor:
    """Compute ``mix`` for layers, which call it hundreds of times a step: it checks no values of tensors.

    Args:
        x: ``[T, I]``.
        a: ``[E, R, I]``.
        b_t: up-projections, transposed, ``[E, R, O]``.
        indices: ``[T, K]`` integers.
        weights: ``[T, K]``.
        combine: ``"outputs"`` or ``"factors"``.
        onto: ``[T, O]``, or None; under autocast it may have another dtype than ``x``.
        ranks: ``[E]`` int64, or None.

    Returns:
        ``[T, O]``.

    Raises:
        ValueError: if shapes or dtypes disagree.
        IndexError, RuntimeError: if an index is not in [0, E). Triton kernels give NaN instead.
    """
    x, a, b_t, indices, weights, onto = convert(x, a, b_t, indices, weights, onto)
    backend, operators = find_backend(x, a, b_t, indices, weights, onto)
    if operators is not None:
        return mix_compiled(x, a, b_t, indices, weights, combine, onto, ranks, operators)
    return _mix_plain(backend, x, a, b_t, indices, weights, combine, onto, ranks)


def _mix_plain(
    backend: Backend,
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    combine: str,
    onto: Tensor | None,
    ranks: Tensor | None,
) -> Tensor:
    """Make the checks of compiled operators, since PyTorch would broadcast tensors of wrong shapes."""
    check_kinds(x=x, a=a, b=b_t, indices=indices, weights=weights, onto=onto, ranks=ranks)
    check_mix(x, a, b_t, indices, weights, onto, combine, ranks)
    y = backend(x, a, b_t, indices, weights.to(x.dtype), combine)
    return y if onto is None else onto + y
