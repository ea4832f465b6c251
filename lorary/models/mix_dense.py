"""``mix`` by two wide products over all experts: fastest if experts × rank is small."""

from torch import Tensor


def mix_dense(x: Tensor, a: Tensor, b_t: Tensor, indices: Tensor, weights: Tensor, combine: str) -> Tensor:
    """Shrink every token by every expert, weight in rank space, expand; see ``mix``.

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
    num_experts, rank, width = a.shape
    gate = x.new_zeros(x.shape[0], num_experts).scatter_add(1, indices, weights)  # [T, E]
    # Repeated before the product, since one that broadcasts over a last axis of size R is not vectorised.
    gates = gate.repeat_interleave(rank, dim=1)  # [T, E*R]
    shrunk = x @ a.reshape(num_experts * rank, width).T
    if combine == "factors":
        summed = (gate[:, None, :] @ shrunk.view(-1, num_experts, rank)).squeeze(1)  # [T, R]
        shrunk = summed.repeat(1, num_experts)
    return (shrunk * gates) @ b_t.reshape(num_experts * rank, -1)
