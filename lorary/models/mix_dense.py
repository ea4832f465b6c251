"""``mix`` by two wide products over all experts at once: best while experts × rank is small."""

from torch import Tensor


def mix_dense(x: Tensor, a: Tensor, b: Tensor, indices: Tensor, weights: Tensor, combine: str) -> Tensor:
    """Shrink every token through every expert, weigh in rank space, expand; see ``mix``.

    Args:
        x: ``[T, I]``.
        a: ``[E, R, I]``.
        b: ``[E, O, R]``.
        indices: ``[T, K]``.
        weights: ``[T, K]``, in the dtype of ``x``.
        combine: ``"outputs"`` or ``"factors"``.

    Returns:
        ``[T, O]``.
    """
    num_experts, rank, width = a.shape
    gate = x.new_zeros(x.shape[0], num_experts).scatter_add(1, indices, weights)  # [T, E]
    shrunk = (x @ a.reshape(num_experts * rank, width).T).view(-1, num_experts, rank)
    if combine == "outputs":
        weighed = shrunk * gate[:, :, None]
    else:
        summed = (gate[:, None, :] @ shrunk).squeeze(1)  # [T, R]
        weighed = gate[:, :, None] * summed[:, None, :]
    return weighed.reshape(-1, num_experts * rank) @ b.transpose(1, 2).reshape(num_experts * rank, -1)
