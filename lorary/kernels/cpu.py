"""The operators of ``cpu.cpp`` on tensors: tensors are checked here, their values there.

Each raises what the check of its tensors raises (see ``checks.py``), IndexError if an index is not in [0, E),
and MemoryError if no memory is left.

T tokens, E experts, R rank, I layer input, O layer output, W either of these, K experts per token.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from struct import Struct

import torch
from torch import Tensor

from lorary.files import quote, say_count
from lorary.kernels.build import load_object
from lorary.kernels.checks import (
    check_along,
    check_best,
    check_choice,
    check_expand,
    check_gather,
    check_mix,
    check_shrink,
    lay_out,
    sum_dtype,
)

FOR_ANY_SIZE = False
CALLS = {
    "mix": Struct("10P8q"),
    "shrink": Struct("4P5q"),
    "expand": Struct("4P5q"),
    "gather": Struct("4P5q"),
    "choose": Struct("4P4qdqd"),
    "along": Struct("4P4qdqd"),
}
"""A call's arguments, as ``cpu.cpp`` reads them: passed one by one, they take longer than all checks."""
NAMES = {torch.bfloat16: "bfloat16", torch.float32: "float32", torch.float64: "float64"}
"""The dtypes that operators take."""
DEVICE = torch.device("cpu")
UNKNOWN_EXPERT, UNKNOWN_RANK, NO_ADDRESS = 1, 2, 3


def is_compiled_for(x: Tensor) -> bool:
    """Return whether the compiled operators can take tensors like this; the first call may compile them."""
    return x.device.type == "cpu" and x.dtype in NAMES and load_object() is not None


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
    """Shrink, weight and expand; see ``lorary.models.mix``. A pair of weight 0 is left out.

    Args:
        x: ``[T, I]``.
        a: ``[E, R, I]``.
        b_t: ``[E, R, O]``.
        indices: ``[T, K]`` int64.
        weights: ``[T, K]`` of ``sum_dtype``.
        onto: ``[T, O]`` to add to, or None.
        combine: ``"outputs"`` or ``"factors"``.
        ranks: the number of the R rows that each expert uses, ``[E]`` int64; the rest must be zeros. None for
            all.

    Returns:
        ``[T, O]``.

    Raises:
        ValueError: also if a used expert has a rank that is not in [0, R].
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
    """Do the same for every pair, whatever its weight, and keep the values that gradients need.

    Returns:
        ``[T, O]``, and the vectors in rank space, ``[T, K, R]`` of ``sum_dtype``.
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
    sizes = tokens, _, rank, _, outputs, top_k = check_mix(x, a, b_t, indices, weights, onto, combine, ranks)
    y = x.new_empty(tokens, outputs)
    shrunk = weights.new_empty(tokens, top_k, rank)
    weighed = torch.empty_like(shrunk) if keep else shrunk  # they may be weighted in place
    inputs = x, a, b_t, indices, weights, ranks, onto
    _call("mix", x.dtype, inputs, (y, shrunk, weighed), (*sizes, combine == "factors", not keep))
    return y, shrunk


def shrink_rows(x: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Project each token into its experts' rank spaces.

    Args:
        x: ``[T, W]``.
        factors: ``[E, R, W]``.
        indices: ``[T, K]`` int64.

    Returns:
        ``[T, K, R]`` of ``sum_dtype``.
    """
    sizes = tokens, _, rank, _, top_k = check_shrink(x, factors, indices)
    shrunk = x.new_empty(tokens, top_k, rank, dtype=sum_dtype(x.dtype))
    _call("shrink", x.dtype, (x, factors, indices), (shrunk,), sizes)
    return shrunk


def expand_rows(weighed: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Add up experts' rows, weighted by numbers from rank space.

    Args:
        weighed: ``[T, K, R]`` of ``sum_dtype``.
        factors: ``[E, R, W]``.
        indices: ``[T, K]`` int64.

    Returns:
        ``[T, W]`` in the dtype of ``factors``.
    """
    sizes = tokens, _, _, width, _ = check_expand(weighed, factors, indices)
    y = factors.new_empty(tokens, width)
    _call("expand", factors.dtype, (weighed, factors, indices), (y,), sizes)
    return y


def gather_rows(weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int) -> Tensor:
    """Add up tokens' rows, weighted by numbers from rank space: the gradient of an expert's factor.

    Args:
        weighed: ``[T, K, R]`` of ``sum_dtype``.
        x: ``[T, W]``.
        indices: ``[T, K]`` int64.
        num_experts: E.

    Returns:
        ``[E, R, W]`` in the dtype of ``x``; zeros for an expert without a token.
    """
    sizes = _, _, rank, width, _ = check_gather(weighed, x, indices, num_experts)
    gathered = x.new_empty(num_experts, rank, width)
    _call("gather", x.dtype, (weighed, x, indices), (gathered,), sizes)
    return gathered


def choose_best(
    scores: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Keep the best scores and compute their weights; see ``lorary.routing.keep_top_k``.

    Args:
        scores: ``[T, E]`` float32.
        top_k: K.
        temperature: divides the scores.
        abstain: the base model's score, or None.

    Returns:
        ``[T, K]`` int64 and ``[T, K]`` float32.
    """
    sizes = tokens, experts = check_best(scores)
    temperature, base = check_choice(experts, top_k, temperature, abstain)
    chosen = _empty_choice(scores, tokens, top_k)
    numbers = *sizes, 0, top_k, temperature, abstain is not None, base
    _call("choose", scores.dtype, (scores, None), chosen, numbers)
    return chosen


def choose_along(
    x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Choose by ``|x · v_e|`` without keeping the scores; see ``lorary.routing.arrow.ArrowRouter``.

    Args:
        x: ``[T, I]``.
        prototypes: ``[E, I]`` in the dtype of ``x``.
        top_k: K.
        temperature: divides the scores.
        abstain: the base model's score, or None.

    Returns:
        ``[T, K]`` int64 and ``[T, K]`` float32.
    """
    sizes = tokens, experts, _ = check_along(x, prototypes)
    temperature, base = check_choice(experts, top_k, temperature, abstain)
    chosen = _empty_choice(x, tokens, top_k)
    numbers = *sizes, top_k, temperature, abstain is not None, base
    _call("along", x.dtype, (x, prototypes), chosen, numbers)
    return chosen


def _empty_choice(x: Tensor, tokens: int, top_k: int) -> tuple[Tensor, Tensor]:
    indices = x.new_empty(tokens, top_k, dtype=torch.int64)
    return indices, x.new_empty(tokens, top_k, dtype=torch.float32)


@cache
def _find(operator: str, dtype: torch.dtype) -> tuple[Callable[..., bytes], Callable[[bytes], int]]:
    """Find the packed form of a call, and the function that is called."""
    loaded = load_object()
    if loaded is None or dtype not in NAMES:
        kinds = ", ".join(NAMES.values()) if loaded is not None else "nothing on this machine"
        raise ValueError(f"there are compiled operators for {kinds}, not for {dtype}")
    function = getattr(loaded, f"{operator}_{NAMES[dtype]}")
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_char_p]
    return CALLS[operator].pack, function


def _call(
    operator: str,
    dtype: torch.dtype,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    numbers: Sequence[float],
) -> None:
    """Call an operator on inputs of checked shapes and dtypes, and on outputs that were made for it."""
    pack, function = _find(operator, dtype)
    held: list[Tensor] = []
    try:
        addresses = [
            0
            if t is None
            else t.data_ptr()
            if t.is_cpu and t.is_contiguous() and not t.is_neg()
            else _lay_out(t, held)
            for t in inputs
        ]
    except RuntimeError as error:
        raise ValueError(
            f"{operator} takes plain tensors, found one that cannot be read: {quote(str(error))}"
        ) from error
    outcome = function(pack(*addresses, *map(Tensor.data_ptr, outputs), *numbers))
    if outcome:
        raise _explain(outcome, *numbers)


def _lay_out(tensor: Tensor, held: list[Tensor]) -> int:
    """Return the address of the same numbers in the layout that operators read, and keep them in memory."""
    held.append(lay_out(tensor, DEVICE))
    return held[-1].data_ptr()


def _explain(outcome: int, tokens: float, experts: float, rank: float, *_: float) -> Exception:
    """Return the error that a code of ``guard.h`` stands for."""
    if outcome == UNKNOWN_EXPERT:
        return IndexError(f"indices must be in [0, {experts}), the number of experts")
    if outcome == UNKNOWN_RANK:
        return ValueError(f"ranks must be in [0, {rank}], the rank of the factors")
    if outcome == NO_ADDRESS:
        return ValueError("operators take plain tensors, found one whose memory was freed")
    wanted = f"{say_count(int(experts), 'expert')} for {say_count(int(tokens), 'token')}"
    return MemoryError(f"no memory is left to mix {wanted}")
