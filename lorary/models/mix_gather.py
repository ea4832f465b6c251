"""``mix`` by gathering each token's factors: fastest for the few tokens of a decode step."""

from torch import Tensor


def mix_gather(x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, combine: str) -> Tensor:
    """Gather the factors of each token's experts, shrink, weight in rank space, expand; see ``mix``.

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
    rank = a.shape[1]
    # Not a[indices], which would accept -1 as the last expert.
    chosen = indices.reshape(-1)
    a_token = a.index_select(0, chosen).view(tokens, top_k * rank, x.shape[1])
    b_token = b_t.index_select(0, chosen).view(tokens, top_k * rank, b_t.shape[2])
    shrunk = (a_token @ x[:, :, None]).view(tokens, top_k, rank)
    if combine == "factors":
        shrunk = weights[:, None, :] @ shrunk  # [T, 1, R]; every expert expands the same sum
    weighed = weights[:, :, None] * shrunk
    return (weighed.view(tokens, 1, top_k * rank) @ b_token).squeeze(1)
