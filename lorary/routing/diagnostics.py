"""The entropy of routing weights, for tables and pictures. Shape letter: K experts kept per token."""

import torch
from torch import Tensor


def routing_entropy(weights: Tensor) -> Tensor:
    """Compute the entropy of each token's weights: 0 for one expert, ``log K`` for K equal ones.

    Args:
        weights: ``[*, K]``, at least 0 with sum 1.

    Returns:
        Entropies in nats, ``[*]`` float32.
    """
    return torch.special.entr(weights.float()).sum(-1)
