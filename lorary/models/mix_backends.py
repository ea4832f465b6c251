"""Which back end does ``mix``: the one place that decides, for the public function and for layers.

Compiled operators, C++ or Triton, where there are some for the tensors; else the plain PyTorch that was
fastest at these sizes. In a graph that is traced, operators are nodes of it (``kernels/traced.py``).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lorary.files import quote
from lorary.kernels import Operators, find_operators, is_compiled_for, is_triton_for
from lorary.models.mix_compiled import mix_compiled, mix_triton, needs_gradients
from lorary.models.mix_dense import mix_dense
from lorary.models.mix_gather import mix_gather
from lorary.models.mix_grouped import mix_grouped
from lorary.models.mix_reference import mix_reference

Backend = Callable[..., Tensor]

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

# From `python -m bench mix` on two CPU cores.
GATHER_PAIRS = 64
DENSE_RANKS_DECODE = 64
DENSE_RANKS = 1024
DENSE_SHARE = 3


def find_backend(
    x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, onto: Tensor | None
) -> tuple[Backend, Operators | None]:
    """Find the back end for a call; see ``mix_stacks`` for the arguments.

    Returns:
        The back end, and the operators that it is to use; None if it is plain PyTorch.
    """
    operators = find_operators(x)
    is_traced = torch.compiler.is_compiling()
    if is_traced and needs_gradients(x, a, b_t, weights, onto):
        operators = None  # there is nothing to trace backward
    sizes = (*indices.shape, *a.shape[:2])
    if len(sizes) != 4:
        return mix_dense, None  # its checks say what is wrong
    name = choose_backend(*sizes, operators)
    if name in COMPILED:
        return mix_compiled, operators
    if name == "grouped" and is_traced:
        return mix_dense, None  # a graph cannot depend on who is in which group
    return BACKENDS[name], None


def choose_backend(
    num_tokens: int, top_k: int, num_experts: int, rank: int, operators: Operators | None = None
) -> str:
    """Name the back end that was fastest for these sizes where we measured (see ``bench/mix.py``).

    Args:
        num_tokens: T.
        top_k: K.
        num_experts: E.
        rank: R.
        operators: the compiled operators there are for the tensors.
    """
    pairs = num_tokens * top_k
    if pairs == 0:
        return "dense"  # there is nothing to fetch or to sort
    if operators is not None:
        if operators.FOR_ANY_SIZE:
            return "triton"
        return "compiled" if pairs <= GATHER_PAIRS or num_experts > DENSE_SHARE * top_k else "dense"
    if pairs <= GATHER_PAIRS and num_experts * rank > DENSE_RANKS_DECODE:
        return "gather"
    return "dense" if num_experts * rank <= DENSE_RANKS else "grouped"


def reads_all_experts(x: Tensor, num_tokens: int, top_k: int, num_experts: int, rank: int) -> bool:
    """Tell whether ``mix`` works on whole stacks at these sizes, not only on the experts that are named."""
    return choose_backend(num_tokens, top_k, num_experts, rank, find_operators(x)) == "dense"


def require_backend(name: str, x: Tensor) -> None:
    """Refuse a back end that there is not, or not for tensors like ``x``.

    Raises:
        ValueError: naming those that there are.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {tuple(BACKENDS)}, not {quote(name)}")
    if name == "compiled" and not is_compiled_for(x):
        raise ValueError(
            f"there are no compiled operators for {x.dtype} on {x.device} here: leave backend out"
        )
