"""The operators of ``cpu.cpp`` on tensors. Callers check shapes; here only memory is made fit.

T tokens, E experts, R rank, I layer input, O layer output, W either of these, K experts per token.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from lorary.kernels.build import load_object

FOR_ANY_SIZE = False
C_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}
SIGNATURES = {
    "mix": "p" * 10 + "i" * 8,
    "shrink": "p" * 4 + "i" * 5,
    "expand": "p" * 4 + "i" * 5,
    "gather": "p" * 4 + "i" * 5,
    "choose": "p" * 3 + "i" * 3 + "fif",
    "along": "p" * 4 + "i" * 4 + "fif",
}
NAMES = {torch.bfloat16: "bfloat16", torch.float32: "float32", torch.float64: "float64"}
"""The dtypes there are operators for."""


def is_compiled_for(x: Tensor) -> bool:
    """Tell whether the compiled operators can take tensors like this one; the first call may build them."""
    return x.device.type == "cpu" and x.dtype in NAMES and load_object() is not None


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums, weights and rank-space vectors have: float32, or float64 for that."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def mix_rows(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None = None,
) -> Tensor:
    """Shrink, weigh and expand; see ``lorary.models.mix``. A weight of 0 leaves its pair out.

    Args:
        x: ``[T, I]``.
        a: ``[E, R, I]``.
        b_t: ``[E, R, O]``.
        indices: ``[T, K]`` int64.
        weights: ``[T, K]`` of ``sum_dtype``.
        onto: ``[T, O]`` to add to, or None.
        combine: ``"outputs"`` or ``"factors"``.
        ranks: how many of the R each expert uses, ``[E]`` int64; the rest must be zeros. None for all.

    Returns:
        ``[T, O]``.

    Raises:
        IndexError: if an index is not in [0, E).
    """
    return _mix_rows(x, a, b_t, indices, weights, onto, combine, ranks, keep=False)[0]


def mix_rows_kept(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do the same for every pair, whatever its weight, and keep what gradients need.

    Returns:
        ``[T, O]``, and what the shrinking gave, ``[T, K, R]`` of ``sum_dtype``.
    """
    return _mix_rows(x, a, b_t, indices, weights, onto, combine, ranks, keep=True)


def _mix_rows(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    tokens, inputs = x.shape
    experts, rank, outputs = b_t.shape
    top_k = indices.shape[1]
    x, a, b_t, indices, weights = (each.contiguous() for each in (x, a, b_t, indices, weights))
    onto, ranks = (None if each is None else each.contiguous() for each in (onto, ranks))
    y = x.new_empty(tokens, outputs)
    shrunk = weights.new_empty(tokens, top_k, rank)
    weighed = torch.empty_like(shrunk) if keep else shrunk  # they may be weighed in place
    failed = _call(
        f"mix_{NAMES[x.dtype]}",
        (x, a, b_t, indices, weights, ranks, onto, y, shrunk, weighed),
        (tokens, experts, rank, inputs, outputs, top_k, combine == "factors", not keep),
    )
    if failed:
        raise IndexError(f"indices must lie in [0, {experts}), the number of experts")
    return y, shrunk


def shrink_rows(x: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Take each token to its experts' rank spaces.

    Args:
        x: ``[T, W]``.
        factors: ``[E, R, W]``.
        indices: ``[T, K]`` int64.

    Returns:
        ``[T, K, R]`` of ``sum_dtype``.
    """
    experts, rank, width = factors.shape
    tokens, top_k = indices.shape
    x, factors, indices = x.contiguous(), factors.contiguous(), indices.contiguous()
    shrunk = x.new_empty(tokens, top_k, rank, dtype=sum_dtype(x.dtype))
    sizes = tokens, experts, rank, width, top_k
    _call(f"shrink_{NAMES[x.dtype]}", (x, factors, indices, shrunk), sizes)
    return shrunk


def expand_rows(weighed: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Add up experts' rows by numbers from rank space.

    Args:
        weighed: ``[T, K, R]`` of ``sum_dtype``.
        factors: ``[E, R, W]``.
        indices: ``[T, K]`` int64.

    Returns:
        ``[T, W]`` in the dtype of ``factors``.
    """
    experts, rank, width = factors.shape
    tokens, top_k = indices.shape
    weighed, factors, indices = weighed.contiguous(), factors.contiguous(), indices.contiguous()
    y = factors.new_empty(tokens, width)
    sizes = tokens, experts, rank, width, top_k
    _call(f"expand_{NAMES[factors.dtype]}", (weighed, factors, indices, y), sizes)
    return y


def gather_rows(weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int) -> Tensor:
    """Add up tokens' rows by numbers from rank space: what an expert's factor owes to its tokens.

    Args:
        weighed: ``[T, K, R]`` of ``sum_dtype``.
        x: ``[T, W]``.
        indices: ``[T, K]`` int64.
        num_experts: E.

    Returns:
        ``[E, R, W]`` in the dtype of ``x``; zeros for an expert without a token.
    """
    tokens, top_k, rank = weighed.shape
    weighed, x, indices = weighed.contiguous(), x.contiguous(), indices.contiguous()
    gathered = x.new_empty(num_experts, rank, x.shape[1])
    sizes = tokens, num_experts, rank, x.shape[1], top_k
    _call(f"gather_{NAMES[x.dtype]}", (weighed, x, indices, gathered), sizes)
    return gathered


def choose_best(
    scores: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Keep the best scores and share weight among them; see ``lorary.routing.keep_top_k``.

    Args:
        scores: ``[T, E]`` float32.
        top_k: K.
        temperature: divides the scores.
        abstain: the base model's score, or None.

    Returns:
        ``[T, K]`` int64 and ``[T, K]`` float32.
    """
    tokens, experts = scores.shape
    scores = scores.contiguous()
    indices = scores.new_empty(tokens, top_k, dtype=torch.int64)
    weights = scores.new_empty(tokens, top_k)
    base = 0.0 if abstain is None else abstain / temperature
    _call(
        "choose",
        (scores, indices, weights),
        (tokens, experts, top_k, temperature, abstain is not None, base),
    )
    return indices, weights


def choose_along(
    x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Choose by ``|x · v_e|`` without keeping the scores; see ``lorary.routing.ArrowRouter``.

    Args:
        x: ``[T, I]``.
        prototypes: ``[E, I]`` in the dtype of ``x``.
        top_k: K.
        temperature: divides the scores.
        abstain: the base model's score, or None.

    Returns:
        ``[T, K]`` int64 and ``[T, K]`` float32.
    """
    tokens = len(x)
    experts, width = prototypes.shape
    x, prototypes = x.contiguous(), prototypes.contiguous()
    indices = x.new_empty(tokens, top_k, dtype=torch.int64)
    weights = x.new_empty(tokens, top_k, dtype=torch.float32)
    base = 0.0 if abstain is None else abstain / temperature
    _call(
        f"along_{NAMES[x.dtype]}",
        (x, prototypes, indices, weights),
        (tokens, experts, width, top_k, temperature, abstain is not None, base),
    )
    return indices, weights


@cache
def _find(name: str) -> Callable[..., int]:
    """Declare an operator's arguments once: it then takes plain integers, for addresses too."""
    function = getattr(load_object(), name)
    function.restype = ctypes.c_int64 if name.startswith("mix") else None
    function.argtypes = [C_TYPES[letter] for letter in SIGNATURES[name.partition("_")[0]]]
    return function


def _call(name: str, tensors: Sequence[Tensor | None], numbers: Sequence[float]) -> int:
    return _find(name)(*[None if each is None else each.data_ptr() for each in tensors], *numbers)
