"""Keeping the experts with the best scores, and computing their weights.

Shape letters: T tokens, E experts, K experts kept per token.
"""

import torch
from torch import Tensor

from lorary.kernels import find_operators
from lorary.routing.configs.checks import check_choice, check_top_k


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
        abstain: the base model's score, the same for every token. It is an additional term of the softmax,
            and its share goes to no expert. None for no share.

    Returns:
        Indices ``[T, K]`` int64, best first, and weights ``[T, K]`` float32, positive with sum 1. With
        ``abstain`` the sum is 1 minus the base model's share.

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


def drop_unlikely(weights: Tensor, min_p: float) -> Tensor:
    """Set weights far below the best one to 0; their sum goes to the others, in proportion.

    Args:
        weights: ``[T, K]``, none negative.
        min_p: weights below this part of the largest of their row are dropped, from 0 to 1.

    Returns:
        ``[T, K]``.
    """
    kept = weights.where(weights >= min_p * weights.amax(-1, keepdim=True), 0.0)
    # Rows that are all zeros (the base model's term has everything) stay zeros.
    total = kept.sum(-1, keepdim=True).clamp_min(torch.finfo(kept.dtype).tiny)
    return kept * (weights.sum(-1, keepdim=True) / total)
