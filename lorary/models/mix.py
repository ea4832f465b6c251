"""The one primitive: apply to each token a weighted few of many low-rank experts.

E experts, R rank (zero-padded), I layer input, O layer output, T tokens, K experts per token.

    outputs    y_t = sum_k w_tk b_e a_e x_t                    merge after the product
    factors    y_t = (sum_k w_tk b_e) (sum_k w_tk a_e) x_t     merge before the product

Each back end is *shrink* (down to rank space), a small weighting there, and *expand* (up to the output),
forward and backward; none builds anything of size T×E×O or T×R×I for more than the tokens it was chosen for.
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
    """Add up what each token's experts make of it.

    Args:
        x: layer inputs, ``[T, I]``.
        a: down-projections, ``[E, R, I]``.
        b: up-projections, ``[E, O, R]``; fastest as a transposed view of contiguous ``[E, R, O]``.
        indices: the experts of each token, ``[T, K]`` integers in ``[0, E)``; one may stand twice.
        weights: their weights, ``[T, K]``; 0 leaves an expert out.
        combine: ``"outputs"`` or ``"factors"``, as above.
        backend: a key of ``BACKENDS``; None chooses by size.
        onto: what the sum is added to, such as the base layer's answer, ``[T, O]`` in the dtype of ``x``;
            None for nothing.
        ranks: how many of the R each expert uses, ``[E]`` integers in ``[0, R]``, the rest of its factors
            being zeros: some back ends then leave these out. None for R each.

    Returns:
        ``[T, O]`` in the dtype of ``x``. Differentiable in ``x``, ``a``, ``b``, ``weights`` and ``onto``.

    Raises:
        TypeError: if something is no tensor.
        ValueError: if shapes disagree, numbers are complex or of another kind than said here, ``combine`` or
            ``backend`` is unknown, or the back end cannot take these tensors.
        RuntimeError: if an index is not in [0, E), or a rank not in [0, R]; on a GPU as late as something
            waits for it.

    Source: LoRA, arXiv:2106.09685; Arrow, arXiv:2405.11157 (``factors``).
    """
    check_kinds(x=x, a=a, b=b, indices=indices, weights=weights, onto=onto, ranks=ranks)
    check_shapes(x, a, b, indices, weights, onto, ranks)
    is_known = (indices >= 0) & (indices < len(a))
    torch._assert_async(is_known.all(), f"indices must lie in [0, {len(a)}), the number of experts")
    if ranks is not None:
        ranks = ranks.long()
        is_rank = (ranks >= 0) & (ranks <= a.shape[1])
        torch._assert_async(is_rank.all(), f"ranks must lie in [0, {a.shape[1]}], the rank of the factors")
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
    """Do ``mix`` for layers that are called hundreds of times a step: with quick checks, of no numbers.

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
        IndexError: or RuntimeError, if an index is not in [0, E). Triton gives NaN.
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
    """Check as compiled operators do: PyTorch's own would stretch what is too small."""
    check_kinds(x=x, a=a, b=b_t, indices=indices, weights=weights, onto=onto, ranks=ranks)
    check_mix(x, a, b_t, indices, weights, onto, combine, ranks)
    y = backend(x, a, b_t, indices, weights.to(x.dtype), combine)
    return y if onto is None else onto + y
