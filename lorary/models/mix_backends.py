"""The choice of ``mix``'s back end, for the public function and for layers.

Compiled operators (C++ or Triton) are used if they support the tensors; otherwise the plain PyTorch back end
that was fastest at these sizes. In a traced graph, operators are nodes (``kernels/traced.py``).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lorary.files import quote
from lorary.kernels import Operators, find_operators
from lorary.kernels.cpu import is_compiled_for
from lorary.kernels.triton_modules import is_triton_for
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
"""Back ends that depend on the machine -> whether they support tensors like ``x``."""

# Limits between back ends, measured by `python -m bench mix` on two CPU cores.
GATHER_PAIRS = 64
DENSE_RANKS_DECODE = 64
DENSE_RANKS = 1024
DENSE_SHARE = 3


def find_backend(
    x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, onto: Tensor | None
) -> tuple[Backend, Operators | None]:
    """Find the back end for a call; see ``mix_stacks`` for the arguments.

    Returns:
        The back end, and the operators that it uses; None for plain PyTorch.
    """
    operators = find_operators(x)
    is_traced = torch.compiler.is_compiling()
    if is_traced and needs_gradients(x, a, b_t, weights, onto):
        operators = None  # the operators' nodes have no backward
    sizes = (*indices.shape, *a.shape[:2])
    if len(sizes) != 4:
        return mix_dense, None  # the checks before it report the wrong shapes
    name = choose_backend(*sizes, operators)
    if name in COMPILED:
        return mix_compiled, operators
    if name == "grouped" and is_traced:
        return mix_dense, None  # in a graph, shapes must not depend on the sizes of groups
    return BACKENDS[name], None


def choose_backend(
    num_tokens: int, top_k: int, num_experts: int, rank: int, operators: Operators | None = None
) -> str:
    """Return the name of the back end that was fastest at these sizes in measurements (``bench/mix.py``).

    Args:
        num_tokens: T.
        top_k: K.
        num_experts: E.
        rank: R.
        operators: the compiled operators for the tensors; None if there are none.
    """
    pairs = num_tokens * top_k
    if pairs == 0:
        return "dense"  # the other back ends do not support empty tensors
    if operators is not None:
        if operators.FOR_ANY_SIZE:
            return "triton"
        return "compiled" if pairs <= GATHER_PAIRS or num_experts > DENSE_SHARE * top_k else "dense"
    if pairs <= GATHER_PAIRS and num_experts * rank > DENSE_RANKS_DECODE:
        return "gather"
    return "dense" if num_experts * rank <= DENSE_RANKS else "grouped"


def reads_all_experts(x: Tensor, num_tokens: int, top_k: int, num_experts: int, rank: int) -> bool:
    """Return whether ``mix`` computes all experts of the stacks at these sizes, not only those in use."""
    return choose_backend(num_tokens, top_k, num_experts, rank, find_operators(x)) == "dense"


def require_backend(name: str, x: Tensor) -> None:
    """Check that a back end exists and supports tensors like ``x``.

    Raises:
        ValueError: if not.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {tuple(BACKENDS)}, found {quote(name)}")
    if name == "compiled" and not is_compiled_for(x):
        raise ValueError(
            f"there are no compiled operators for {x.dtype} on {x.device} here: leave backend out"
        )
