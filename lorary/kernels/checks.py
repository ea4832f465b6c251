"""Checks of the operators' arguments before each call: operators take addresses, and read whatever is there.

A decode step makes hundreds of calls, so a check compares a few attributes, and a message is made only if
one does not fit. What depends on the numbers, such as whether an expert exists, is checked by the operators.

T tokens, E experts, R rank, I layer input, O layer output, W either of these, K experts per token.
"""

from collections.abc import Mapping
from math import inf

import torch
from torch import Tensor

from lorary.files import escape, quote

COMBINES = ("outputs", "factors")
MOST_EXPERTS = 2**31 - 3  # such numbers and two more fit into 32 bits
LARGEST = torch.finfo(torch.float32).max / 2  # the difference of two is still finite
SMALLEST = torch.finfo(torch.float32).tiny

TAKES: Mapping[str, str] = {
    "mix_rows": "x [T, I], a [E, R, I], b_t [E, R, O] and onto [T, O] or None, all of one dtype, "
    "indices [T, K] int64, weights [T, K] float32 (float64 if x is), and ranks [E] int64 or None",
    "shrink_rows": "x [T, W] and factors [E, R, W] of one dtype, and indices [T, K] int64",
    "expand_rows": "weighed [T, K, R] float32 (float64 if factors are), factors [E, R, W] and "
    "indices [T, K] int64",
    "gather_rows": "weighed [T, K, R] float32 (float64 if x is), x [T, W] and indices [T, K] int64",
    "choose_best": "scores [T, E] float32",
    "choose_along": "x [T, I] and prototypes [E, I] of one dtype, with I above 0",
}
"""What each operator takes, for messages."""
MAY_LACK = ("onto", "ranks")

# By the dtype of inputs; other tensors and arrays have no such dtype.
WIDE = {
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}
_NO_TENSOR = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums, weights and rank-space vectors have: float32, or float64 for float64."""
    return WIDE.get(dtype, torch.float32)


def check_mix(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None,
) -> tuple[int, int, int, int, int, int]:
    """Refuse arguments that ``cpu.mix_rows`` cannot take.

    Returns:
        T, E, R, I, O and K.

    Raises:
        TypeError: if an argument is not a tensor.
        ValueError: if shapes or dtypes disagree, or ``combine`` is unknown.
    """
    if combine not in COMBINES:
        raise ValueError(f"combine must be one of {COMBINES}, not {quote(combine)}")
    try:
        tokens, inputs = x.shape
        experts, rank, outputs = b_t.shape
        _, top_k = pairs = indices.shape
        dtype = x.dtype
        if (
            pairs[0] == tokens
            and weights.shape == pairs
            and a.shape == (experts, rank, inputs)
            and a.dtype is dtype
            and b_t.dtype is dtype
            and indices.dtype is torch.int64
            and weights.dtype is WIDE[dtype]
            and (onto is None or (onto.shape == (tokens, outputs) and onto.dtype is dtype))
            and (ranks is None or (ranks.shape == (experts,) and ranks.dtype is torch.int64))
        ):
            return tokens, experts, rank, inputs, outputs, top_k
    except _NO_TENSOR:
        pass
    given = {"x": x, "a": a, "b_t": b_t, "indices": indices, "weights": weights}
    raise _refuse("mix_rows", given | {"onto": onto, "ranks": ranks})


def check_shrink(x: Tensor, factors: Tensor, indices: Tensor) -> tuple[int, int, int, int, int]:
    """Refuse arguments of ``cpu.shrink_rows``, as ``check_mix`` does; returns T, E, R, W and K."""
    try:
        tokens, width = x.shape
        experts, rank, _ = shape = factors.shape
        others, top_k = indices.shape
        fits = others == tokens and shape[2] == width and factors.dtype is x.dtype
        if fits and x.dtype in WIDE and indices.dtype is torch.int64:
            return tokens, experts, rank, width, top_k
    except _NO_TENSOR:
        pass
    raise _refuse("shrink_rows", {"x": x, "factors": factors, "indices": indices})


def check_expand(weighed: Tensor, factors: Tensor, indices: Tensor) -> tuple[int, int, int, int, int]:
    """Refuse arguments of ``cpu.expand_rows``, as ``check_mix`` does; returns T, E, R, W and K."""
    try:
        experts, rank, width = factors.shape
        tokens, top_k = indices.shape
        fits = weighed.shape == (tokens, top_k, rank) and weighed.dtype is WIDE[factors.dtype]
        if fits and indices.dtype is torch.int64:
            return tokens, experts, rank, width, top_k
    except _NO_TENSOR:
        pass
    raise _refuse("expand_rows", {"weighed": weighed, "factors": factors, "indices": indices})


def check_gather(
    weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int
) -> tuple[int, int, int, int, int]:
    """Refuse arguments of ``cpu.gather_rows``, as ``check_mix`` does; returns T, E, R, W and K."""
    if not 0 <= num_experts <= MOST_EXPERTS:
        raise ValueError(f"num_experts must be in [0, {MOST_EXPERTS}], found {quote(num_experts)}")
    try:
        tokens, top_k, rank = weighed.shape
        others, width = x.shape
        fits = others == tokens and indices.shape == (tokens, top_k) and indices.dtype is torch.int64
        if fits and weighed.dtype is WIDE[x.dtype]:
            return tokens, num_experts, rank, width, top_k
    except _NO_TENSOR:
        pass
    raise _refuse("gather_rows", {"weighed": weighed, "x": x, "indices": indices})


def check_best(scores: Tensor) -> tuple[int, int]:
    """Refuse arguments of ``cpu.choose_best``, as ``check_mix`` does; returns T and E."""
    try:
        tokens, experts = scores.shape
        if scores.dtype is torch.float32:
            return tokens, experts
    except _NO_TENSOR:
        pass
    raise _refuse("choose_best", {"scores": scores})


def check_along(x: Tensor, prototypes: Tensor) -> tuple[int, int, int]:
    """Refuse arguments of ``cpu.choose_along``, as ``check_mix`` does; returns T, E and I."""
    try:
        tokens, width = x.shape
        experts, others = prototypes.shape
        if others == width > 0 and prototypes.dtype is x.dtype and x.dtype in WIDE:
            return tokens, experts, width
    except _NO_TENSOR:
        pass
    raise _refuse("choose_along", {"x": x, "prototypes": prototypes})


def check_choice(experts: int, top_k: int, temperature: float, abstain: float | None) -> tuple[float, float]:
    """Refuse a choice that cannot be made.

    Returns:
        The temperature, and the base model's score divided by it, within the range of float32.

    Raises:
        ValueError: if ``top_k`` is not between 1 and E, ``temperature`` is not above 0, or ``abstain`` is not
            finite.
    """
    if not 1 <= top_k <= experts:
        raise ValueError(
            f"top_k must be between 1 and the number of experts, {experts}, found {quote(top_k)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, found {quote(temperature)}")
    temperature = max(min(temperature, LARGEST), SMALLEST)
    if abstain is None:
        return temperature, 0.0
    if not abs(abstain) < inf:
        raise ValueError(f"abstain must be finite, or None, found {quote(abstain)}")
    return temperature, _hold(_hold(abstain) / temperature)


def _hold(score: float) -> float:
    return max(min(score, LARGEST), -LARGEST)


def lay_out(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the same numbers in the layout that operators read: dense and contiguous, on their device.

    Raises:
        ValueError: if the tensor is on another device, is sparse or packed, or has no memory.
    """
    if tensor.device != device or tensor.layout is not torch.strided:
        raise ValueError(
            f"operators take plain tensors on {device}, found {tensor.layout} on {tensor.device}: "
            "move it, or make it dense"
        )
    if tensor.numel() and not tensor.data_ptr():
        raise ValueError("operators take plain tensors, found one whose memory was freed: copy it before")
    return tensor.resolve_neg().contiguous()


def _refuse(operator: str, given: Mapping[str, object]) -> ValueError | TypeError:
    """Describe what an operator takes, and what it was given."""
    kind: type[ValueError | TypeError] = ValueError
    found = []
    for name, value in given.items():
        if isinstance(value, Tensor):
            found.append(f"{name} {_describe_shape(value)} {value.dtype}".replace("torch.", ""))
        elif value is not None or name not in MAY_LACK:
            kind = TypeError
            found.append(f"{name} a {quote(type(value).__name__, 40)}")
    return kind(f"{operator} takes {TAKES[operator]}; found {', '.join(found)}")


def _describe_shape(tensor: Tensor) -> str:
    try:
        return escape(str(list(tensor.shape)), longest=60)
    except RuntimeError:  # nested tensors have none
        return "of no one shape"
