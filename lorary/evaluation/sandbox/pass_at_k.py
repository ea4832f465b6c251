"""The probability that at least one of k programs is right, estimated from n programs."""

import math

import numpy as np


def pass_at_k(num_programs: int, num_passed: int, k: int) -> float:
    """Estimate pass@k of one problem without bias: 1 - C(n - c, k) / C(n, k).

    Args:
        num_programs: number of programs for the problem, n.
        num_passed: number of programs that passed, c.
        k: number of programs that may be tried.

    Returns:
        The share of all choices of k programs that have one which passed.

    Raises:
        ValueError: unless ``0 <= num_passed <= num_programs`` and ``1 <= k <= num_programs``.

    Source: Codex, arXiv:2107.03374. The ratio is a product of c factors ``1 - k / i``, summed as logarithms:
    binomials would overflow, and a small result would be rounded away.
    """
    if not 1 <= k <= num_programs:
        raise ValueError(f"pass@{k} needs k between 1 and the {num_programs} programs of a problem")
    if not 0 <= num_passed <= num_programs:
        raise ValueError(f"{num_passed} of {num_programs} programs cannot have passed")
    if num_programs - num_passed < k:
        return 1.0
    divisors = np.arange(num_programs - num_passed + 1, num_programs + 1)
    return -math.expm1(float(np.log1p(-k / divisors).sum()))
