"""Learning rates and batches as pure functions of the step, so that they need not be saved for resuming."""

import math
import random
from collections.abc import Sequence


def learning_rate_factor(step: int, num_steps: int, warmup_ratio: float, schedule: str) -> float:
    """Return the learning rate of a step, as a share of the peak learning rate.

    Args:
        step: the step about to be taken, from 0.
        num_steps: number of steps.
        warmup_ratio: share of the steps over which the rate rises linearly.
        schedule: decay after the warm-up: ``"linear"``, ``"cosine"`` or ``"constant"``.
    """
    warmup = math.ceil(num_steps * warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    if schedule == "constant":
        return 1.0
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


def plan_batches(
    lengths: Sequence[int],
    batch_size: int,
    *,
    seed: int,
    epochs: float | None = None,
    max_steps: int | None = None,
    max_tokens: int | None = None,
) -> list[list[int]]:
    """Plan all batches of one unit: a new random order in each epoch, until the first bound is reached.

    Args:
        lengths: number of tokens of each example.
        batch_size: examples per batch; only the last batch may be smaller, because of a bound.
        seed: of the orders.
        epochs: maximum number of passes over the examples.
        max_steps: maximum number of batches.
        max_tokens: maximum number of tokens in total.

    Returns:
        The example indices of each batch: none if ``max_steps`` is 0, else at least one example.
    """
    if max_steps == 0:
        return []
    bound = math.inf if epochs is None else max(1, round(epochs * len(lengths)))
    batches: list[list[int]] = [[]]
    seen = tokens = 0
    while True:
        order = list(range(len(lengths)))
        random.Random(f"{seed}-{seen // len(lengths)}").shuffle(order)
        for index in order:
            full = len(batches[-1]) == batch_size
            if seen and (
                seen >= bound
                or (max_tokens is not None and tokens + lengths[index] > max_tokens)
                or (full and max_steps is not None and len(batches) >= max_steps)
            ):
                return batches
            if full:
                batches.append([])
            batches[-1].append(index)
            seen, tokens = seen + 1, tokens + lengths[index]
