"""Mixing skills for a task: weights from the task's row of a table, and the weighted sum of factors.

With one split this is Polytropon, with several it is multi-head routing (MHR): inputs and outputs of a layer
are divided into equal blocks, and each block has its own weights.

    h = sum_q x_q (sum_s w_qs a_sq)        y_q = (sum_s w_qs b_sq) h

S skills, Q splits (blocks), R rank, I layer input, O layer output, W = I or O, P rows of a table.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.experts.skills.choices import WEIGHTINGS, Weighting

# Avoids a division by zero; PEFT's value.
EPSILON = 1e-12
MOST_NAMED = 3  # layers in one message


def compute_weights(
    logits: Tensor, num_splits: int, weighting: Weighting = "sigmoid", noise: Tensor | None = None
) -> Tensor:
    """Compute the weights of skills from rows of a table.

    - ``sigmoid``: the logits' sigmoids. Evaluation always uses these.
    - ``relaxed``: samples of a relaxed Bernoulli distribution of temperature 1 with these logits.
    - ``straight_through``: these samples, rounded to 0 or 1; gradients are those of the samples.

    Args:
        logits: rows of a table, ``[*, Q·S]``, the skills of a split side by side.
        num_splits: Q.
        weighting: see above.
        noise: uniform numbers in [0, 1), in the shape of ``logits``, from which samples are computed;
            None for ``sigmoid``.

    Returns:
        ``[*, Q, S]``; the weights of a split sum to 1, or to 0 where ``straight_through`` rounds all to 0.

    Raises:
        ValueError: if the weighting is unknown, or noise is missing or not needed.

    Source: Polytropon, arXiv:2202.13914; MHR, arXiv:2211.03831.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, found {weighting!r}")
    if (noise is None) != (weighting == "sigmoid"):
        raise ValueError(
            f"noise must be given for all weightings except 'sigmoid', found {weighting!r} "
            f"{'without' if noise is None else 'with'} noise"
        )
    if noise is not None:
        # A sample at temperature 1: sigmoid(logits + logit(noise)).
        tiny = torch.finfo(noise.dtype).eps
        logits = logits + torch.logit(noise.clamp(tiny, 1 - tiny))
    sampled = torch.sigmoid(logits).unflatten(-1, (num_splits, -1))
    weights = _divide_by_sum(sampled)
    if weighting != "straight_through":
        return weights
    # Straight-through: the value is rounded, the gradient is that of the weights.
    return weights + (_divide_by_sum((sampled > 0.5).to(sampled.dtype)) - weights).detach()


def _divide_by_sum(weights: Tensor) -> Tensor:
    return weights / (weights.sum(-1, keepdim=True) + EPSILON)


def mix_skills(factors: Tensor, weights: Tensor) -> Tensor:
    """Compute the factors of tasks from those of the skills.

    Args:
        factors: down-projections ``[S, R, I]``, or up-projections ``[S, R, O]``.
        weights: ``[P, Q, S]``.

    Returns:
        ``[P, R, W]``: block q of the last dimension is the sum of the skills' blocks q with the weights of
        split q. It is differentiable in both arguments.
    """
    blocks = factors.unflatten(-1, (weights.shape[1], -1))
    return torch.einsum("pqs,srqw->prqw", weights, blocks).flatten(2)


def check_splits(sizes: Mapping[str, tuple[int, int]], num_splits: int) -> None:
    """Check that the splits divide the widths of all layers.

    Args:
        sizes: module path -> (I, O).
        num_splits: Q.

    Raises:
        ValueError: with the layers that it does not divide, and the numbers that divide all widths.
    """
    if num_splits < 1:
        raise ValueError(f"num_splits must be at least 1, found {num_splits}")
    unfit = [path for path, pair in sizes.items() if any(width % num_splits for width in pair)]
    if not unfit:
        return
    shown = ", ".join(f"{path!r} ({sizes[path][0]} to {sizes[path][1]})" for path in unfit[:MOST_NAMED])
    more = f" and {len(unfit) - MOST_NAMED} more" if len(unfit) > MOST_NAMED else ""
    common = math.gcd(*(width for pair in sizes.values() for width in pair))
    divisors = [str(number) for number in range(1, common + 1) if common % number == 0]
    raise ValueError(
        f"num_splits must divide the input and output widths of all layers, {num_splits} does not divide "
        f"those of {shown}{more}: use {' or '.join(divisors)}"
    )
