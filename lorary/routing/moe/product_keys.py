"""Product keys: the best cells of a grid, found from the best rows and the best columns.

Shape letters: T tokens, E experts, M rows, N columns, K experts kept per token.
"""

import torch
from torch import Tensor


def choose_cells(first: Tensor, second: Tensor, num_experts: int, top_k: int) -> tuple[Tensor, Tensor]:
    """Keep the cells with the largest sums of their row's and their column's score.

    The experts fill the first cells of the grid, row by row, so only the last row can have free cells.
    The K best cells of full rows lie in the K best of these rows and the K best columns. So with the K best
    cells of the last row, at most K² + K sums are compared, and the result is exact.

    Args:
        first: scores of the rows, ``[T, M]``.
        second: scores of the columns, ``[T, N]``.
        num_experts: E, between (M - 1) N + 1 and M N.
        top_k: K, at most E.

    Returns:
        The sums ``[T, K]``, best first, and the experts ``[T, K]``.

    Source: Lample et al., arXiv:1907.05242.
    """
    num_rows, num_columns = first.shape[1], second.shape[1]
    is_full = num_rows * num_columns == num_experts
    full = first if is_full else first[:, :-1]
    best_rows, rows = full.topk(min(top_k, full.shape[1]))
    best_columns, columns = second.topk(min(top_k, num_columns))
    sums = (best_rows[:, :, None] + best_columns[:, None]).flatten(1)
    cells = (rows[:, :, None] * num_columns + columns[:, None]).flatten(1)
    if not is_full:
        begun = (num_rows - 1) * num_columns
        in_last, last_columns = second[:, : num_experts - begun].topk(min(top_k, num_experts - begun))
        sums = torch.cat([sums, first[:, -1:] + in_last], 1)
        cells = torch.cat([cells, begun + last_columns], 1)
    kept, places = sums.topk(top_k)
    return kept, cells.gather(1, places)


def normalise_grid(first: Tensor, second: Tensor, num_experts: int) -> Tensor:
    """Return the logarithm of the sum over all experts of exp(score), ``[T]``, without forming the sums."""
    num_rows, num_columns = first.shape[1], second.shape[1]
    in_last = num_experts - (num_rows - 1) * num_columns
    last = first[:, -1] + second[:, :in_last].logsumexp(1)
    if num_rows == 1:
        return last
    return torch.logaddexp(first[:, :-1].logsumexp(1) + second.logsumexp(1), last)
