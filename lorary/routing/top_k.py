"""Keeping the experts with the best scores, and computing their weights.

Shape letters: T tokens, E experts, K experts kept per token.
"""

from math import inf

import torch
from torch import Tensor

from lorary.files import quote
from lorary.kernels import find_operators
from lorary.routing.option_types import LARGEST, SMALLEST

DEFAULT_TOP_K = 4


def keep_top_k(
    scores: Tensor, top_k: int, temperature: float = 1.0, abstain: float | None = None
) -> tuple[Tensor, Tensor]:
    """Keep each token's experts with the best scores; a softmax of these scores gives their weights.

    Args:
        scores: ``[T, E]``, of any floating dtype. A NaN counts as the worst score, an infinity as the largest
            or smallest number.
        top_k: K, the number of experts to keep.
        temperature: the kept scores are divided by it. A small value gives the best expert all the weight,
            infinity gives equal weights.
        abstain: the base model's score, the same for every token. It is one more term of the softmax, and
            its share goes to no expert. None for no share.

    Returns:
        Indices ``[T, K]`` int64, best first, and weights ``[T, K]`` float32, positive with sum 1. With
        ``abstain`` the sum is 1 less the base model's share.

    Raises:
        ValueError: if ``top_k`` is not between 1 and E, ``temperature`` is not above 0, ``abstain`` is not
            finite, or a number is outside the range that float32 scores can be divided by.
    """
    check_top_k(top_k, scores.shape[-1])
    check_choice(temperature, abstain)
    wide = scores.float()
    if wide.ndim == 2 and not wide.requires_grad and (operators := find_operators(wide)):
        return operators.choose_best(wide, top_k, temperature, abstain)
    if temperature != 1.0:
        wide = wide / temperature
    kept, indices = torch.topk(torch.nan_to_num(wide, nan=torch.finfo(torch.float32).min), top_k, dim=-1)
    if abstain is None:
        return indices, torch.softmax(kept, dim=-1)
    # The base model's term takes part in the softmax; its weight is dropped.
    base = kept.new_full((*kept.shape[:-1], 1), abstain / temperature)
    return indices, torch.softmax(torch.cat([kept, base], dim=-1), dim=-1)[..., :-1]


def resolve_top_k(top_k: int | None, num_experts: int, default: int = DEFAULT_TOP_K) -> int:
    """Return the number of experts to keep: ``top_k``; if None, the default, or all if there are fewer.

    Raises:
        ValueError: if ``top_k`` is below 1 or above the number of experts.
    """
    if top_k is None:
        return min(default, num_experts)
    check_top_k(top_k, num_experts)
    return top_k


def check_top_k(top_k: int, num_experts: int) -> None:
    """Check that ``top_k`` is between 1 and the number of experts.

    Raises:
        ValueError: if it is not.
    """
    if not 1 <= top_k <= num_experts:
        raise ValueError(
            f"top_k must be between 1 and the number of experts, {num_experts}, found {quote(top_k)}: "
            "choose another top_k or add experts"
        )


def check_choice(temperature: float, abstain: float | None) -> None:
    """Check that scores can be divided by ``temperature``, and that ``abstain`` is finite or None.

    Raises:
        ValueError: if not; the message has all faults.
    """
    faults = find_choice_faults(None, temperature, abstain)
    if faults:
        raise ValueError("; ".join(faults))


def find_choice_faults(top_k: int | None, temperature: float, abstain: float | None) -> list[str]:
    """List the faults of these options that can be found without the experts."""
    faults = []
    if top_k is not None and top_k < 1:
        faults.append(f"top_k must be at least 1, found {quote(top_k)}")
    if not (SMALLEST <= temperature <= LARGEST or temperature == inf):
        bound = f"{SMALLEST:g} to {LARGEST:g}, or infinite" if temperature > 0 else "above 0"
        faults.append(f"temperature must be {bound}, found {quote(temperature)}")
    # The base model's score is divided by the temperature too.
    scale = temperature if SMALLEST <= temperature < 1 else 1
    if abstain is not None and not abs(abstain) <= LARGEST * scale:
        bound = f"at most {LARGEST:g} temperatures" if abs(abstain) < inf else "finite"
        faults.append(
            f"abstain must be {bound}, or None for no share of the base model, found {quote(abstain)}"
        )
    return faults
