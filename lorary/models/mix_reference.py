"""The reference for ``mix``, which every back end is tested against."""

import torch
from torch import Tensor


def mix_reference(
    x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, combine: str
) -> Tensor:
    """Compute ``mix`` literally by its formula: form each token's factors, then apply them. Slow."""
    a_token = a[indices]  # [T, K, R, I]
    b_token = b_t[indices].transpose(2, 3)  # [T, K, O, R]
    w = weights[:, :, None, None]
    if combine == "factors":
        a_token = (w * a_token).sum(1, keepdim=True)
        b_token = (w * b_token).sum(1, keepdim=True)
        w = torch.ones_like(w[:, :1])
    return (w * (b_token @ (a_token @ x[:, None, :, None]))).sum(1).squeeze(-1)
