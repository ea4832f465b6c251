"""Scores in, a few experts and their weights out.

Shape letters: T tokens, E experts, K experts kept per token.
"""

import torch
from torch import Tensor


def keep_top_k(scores: Tensor, top_k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Keep each token's best experts, and share its weight among them by a softmax.

    Args:
        scores: one per token and expert, ``[T, E]``, of any floating dtype. A NaN counts as the worst score,
            an infinity as the largest or smallest number.
        top_k: K, how many experts to keep.
        temperature: the kept scores are divided by it: near 0 the best expert takes all, at infinity the
            kept ones share equally.

    Returns:
        Indices ``[T, K]`` int64, best first, and weights ``[T, K]`` float32, positive with sum 1.

    Raises:
        ValueError: if ``top_k`` is not between 1 and E, or ``temperature`` is not above 0.
    """
    check_top_k(top_k, scores.shape[-1])
    check_temperature(temperature)
    wide = scores.float()
    if temperature != 1.0:
        wide = wide / temperature
    kept, indices = torch.topk(torch.nan_to_num(wide, nan=torch.finfo(torch.float32).min), top_k, dim=-1)
    return indices, torch.softmax(kept, dim=-1)


def check_top_k(top_k: int, num_experts: int) -> None:
    """Refuse to keep fewer experts than one, or more than there are.

    Raises:
        ValueError: naming both numbers.
    """
    if not 1 <= top_k <= num_experts:
        raise ValueError(
            f"top_k must be between 1 and the number of experts, {num_experts}, found {top_k}: "
            "choose another top_k or add experts"
        )


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that no score can be divided by.

    Raises:
        ValueError: if it is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, found {temperature!r}")
