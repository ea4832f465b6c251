"""The one primitive: apply to each token a weighted few of many low-rank experts.

E experts, R rank (zero-padded), I layer input, O layer output, T tokens, K experts per token.

    outputs    y_t = sum_k w_tk b_e a_e x_t                    merge after the product
    factors    y_t = (sum_k w_tk b_e) (sum_k w_tk a_e) x_t     merge before the product

Each back end is *shrink* (down to rank space), a small weighting there, and *expand* (up to the output),
forward and backward; none builds anything of size T×E×O or T×R×I for more than the tokens it was chosen for.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lorary.files import quote
from lorary.kernels import Operators, find_operators, is_compiled_for, is_triton_for
from lorary.kernels.checks import check_mix
from lorary.models.mix_checks import check_kinds, check_shapes, convert
from lorary.models.mix_compiled import mix_compiled, mix_triton, needs_gradients
from lorary.models.mix_dense import mix_dense
from lorary.models.mix_gather import mix_gather
from lorary.models.mix_grouped import mix_grouped

Backend = Callable[..., Tensor]


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
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {tuple(BACKENDS)}, not {quote(backend)}")
    if backend == "compiled" and not is_compiled_for(x):
        raise ValueError(
            f"there are no compiled operators for {x.dtype} on {x.device} here: leave backend out"
        )
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
    operators = find_operators(x)
    if torch.compiler.is_compiling() and needs_gradients(x, a, b_t, weights, onto):
        operators = None  # there is nothing to trace backward
    sizes = (*indices.shape, *a.shape[:2])
    if len(sizes) != 4:
        check_mix(x, a, b_t, indices, weights, onto, combine, ranks)
    if reads_all_experts(operators, *sizes):
        return _mix_plain(mix_dense, x, a, b_t, indices, weights, combine, onto, ranks)
    if operators is not None:
        return mix_compiled(x, a, b_t, indices, weights, combine, onto, ranks, operators)
    backend = choose_backend(*sizes)
    if backend == "grouped" and torch.compiler.is_compiling():
        backend = "dense"  # a graph cannot depend on who is in which group
    return _mix_plain(BACKENDS[backend], x, a, b_t, indices, weights, combine, onto, ranks)


def reads_all_experts(
    operators: Operators | None, num_tokens: int, top_k: int, num_experts: int, rank: int
) -> bool:
    """Tell whether ``mix`` works on whole stacks at these sizes, not only on the experts that are named."""
    if num_tokens * top_k == 0:
        return True  # there is nothing to fetch or to sort
    if operators is not None and operators.FOR_ANY_SIZE:
        return False
    return choose_backend(num_tokens, top_k, num_experts, rank, operators is not None) == "dense"


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


def mix_reference(
    x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, combine: str
) -> Tensor:
    """Do ``mix`` the way its formula reads: form each token's own factors, then apply them. Slow, clear."""
    a_token = a[indices]  # [T, K, R, I]
    b_token = b_t[indices].transpose(2, 3)  # [T, K, O, R]
    w = weights[:, :, None, None]
    if combine == "factors":
        a_token = (w * a_token).sum(1, keepdim=True)
        b_token = (w * b_token).sum(1, keepdim=True)
        w = torch.ones_like(w[:, :1])
    return (w * (b_token @ (a_token @ x[:, None, :, None]))).sum(1).squeeze(-1)


BACKENDS: dict[str, Backend] = {
    "reference": mix_reference,
    "dense": mix_dense,
    "gather": mix_gather,
    "grouped": mix_grouped,
    "compiled": mix_compiled,
    "triton": mix_triton,
}
COMPILED: Mapping[str, Callable[[Tensor], bool]] = {"compiled": is_compiled_for, "triton": is_triton_for}
"""Back ends that are not everywhere, and what tells whether they can take tensors like ``x``."""


def choose_backend(
    num_tokens: int, top_k: int, num_experts: int, rank: int, is_compiled: bool = False
) -> str:
    """Name the back end that was fastest for these sizes where we measured (see ``bench/mix.py``)."""
    is_few = num_tokens * top_k <= GATHER_PAIRS
    if is_compiled:
        return "compiled" if is_few or num_experts > DENSE_SHARE * top_k else "dense"
    if is_few and num_experts * rank > DENSE_RANKS_DECODE:
        return "gather"
    return "dense" if num_experts * rank <= DENSE_RANKS else "grouped"


# From `python -m bench mix` on two CPU cores.
GATHER_PAIRS = 64
DENSE_RANKS_DECODE = 64
DENSE_RANKS = 1024
DENSE_SHARE = 3
