"""What a routing decision looks like from outside, for tables and pictures.

Shape letters: T tokens, E experts, K experts kept per token.
"""

import torch
from torch import Tensor


def routing_entropy(weights: Tensor) -> Tensor:
    """Measure how undecided each token is: 0 for one expert, ``log K`` for K equal ones.

    Args:
        weights: ``[*, K]``, at least 0 with sum 1.

    Returns:
        Entropies in nats, ``[*]`` float32.
    """
    return torch.special.entr(weights.float()).sum(-1)


def expert_usage(indices: Tensor, weights: Tensor, num_experts: int) -> Tensor:
    """Measure each expert's share of the routing weight of all tokens.

    Args:
        indices: ``[T, K]``, integers below ``num_experts``.
        weights: ``[T, K]``; the size of a negative one counts.
        num_experts: E.

    Returns:
        Shares ``[E]`` in float32 with sum 1; zeros where there are no tokens or no weight.

    Raises:
        ValueError: if the two disagree in shape, or an index is not below ``num_experts``.
    """
    if indices.shape != weights.shape:
        raise ValueError(
            f"indices and weights must be [T, K] both, found {list(indices.shape)} and {list(weights.shape)}"
        )
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < num_experts:
        found = f"{int(indices.min())} to {int(indices.max())}"
        raise ValueError(f"indices must be from 0 to {num_experts - 1}, found {found}")
    # Summed in float64: a long text has more tokens than float32 can count.
    totals = torch.zeros(num_experts, dtype=torch.float64, device=weights.device)
    totals.index_add_(0, indices.flatten(), weights.flatten().abs().double())
    return (totals / totals.sum().clamp_min(torch.finfo(torch.float64).tiny)).float()
