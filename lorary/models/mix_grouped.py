"""``mix`` over tokens sorted by expert: computes only the experts that each token uses."""

import torch
from torch import Tensor


def mix_grouped(x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, combine: str) -> Tensor:
    """Sort the pairs of token and expert by expert, and compute two products per expert in use; see ``mix``.

    Args:
        x: ``[T, I]``.
        a: ``[E, R, I]``.
        b_t: ``[E, R, O]``.
        indices: ``[T, K]``.
        weights: ``[T, K]``, in the dtype of ``x``.
        combine: ``"outputs"`` or ``"factors"``.

    Returns:
        ``[T, O]``.
    """
    tokens, top_k = indices.shape
    expert, order = indices.reshape(-1).sort(stable=True)
    token = order // top_k
    shrunk = torch.cat(
        [
            rows @ a[e].T
            for e, rows in _runs(x[token], expert)  # rows [n, I]
        ]
    )
    weight = weights.reshape(-1)[order][:, None]  # [T*K, 1]
    weighed = weight * shrunk
    if combine == "factors":
        summed = x.new_zeros(tokens, a.shape[1]).index_add(0, token, weighed)
        weighed = weight * summed[token]
    expanded = torch.cat([rows @ b_t[e] for e, rows in _runs(weighed, expert)])
    return x.new_zeros(tokens, b_t.shape[2]).index_add(0, token, expanded)


def _runs(rows: Tensor, expert: Tensor) -> list[tuple[int, Tensor]]:
    """Split rows, sorted by expert, into the rows of each expert in use."""
    used, counts = (each.tolist() for each in expert.unique_consecutive(return_counts=True))
    if used[0] < 0:
        raise IndexError(f"indices must be at least 0, found {used[0]}")
    return list(zip(used, rows.split(counts), strict=True))
