"""``mix`` as its formula reads: what every back end is held against."""

import torch
from torch import Tensor


def mix_reference(
    x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, combine: str
) -> Tensor:
    """Do ``mix`` the way its formula reads: form each token's own factors, then apply them. Slow, clear."""
    a_token = a[indices]  # [T, K, R, I]
    b_token = b_t[indices].transpose(2, 3)  # [T, K, O, R]
    w = weights[:, :, None, None]
    if combine == "factors":
        a_token = (w * a_token).sum(1, keepdim=True)
        b_token = (w * b_token).sum(1, keepdim=True)
        w = torch.ones_like(w[:, :1])
    return (w * (b_token @ (a_token @ x[:, None, :, None]))).sum(1).squeeze(-1)
