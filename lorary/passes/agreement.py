"""Whether logits of two runs of one model agree up to rounding.

Two questions have different limits. *Is a text influenced by other texts?* is tested by changing the others
and keeping every shape: the same operations run on the same numbers, so most models give equal bits, in half
precision too, and the limit is tight. *Is a text's result the same as alone?* compares runs with other shapes
and kernels, which round differently, so this limit is wide in half precision. It only has to detect wrong
positions, because the first question detects every influence. Absolute positions are added to the
embeddings, so the first layer's input is compared too, where little has been rounded yet.

N tokens of a text, I input of the first layer, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Largest change of a text's logits when only other texts change, in units of the logits' standard deviation.
_INFLUENCES = {torch.float64: 1e-9, torch.float32: 5e-5}
_HALF_INFLUENCE = 1e-3
# Root mean square of the difference over a text's logits, in the same units. SmolLM2-135M, of 30 layers, has
# 1e-5 in float32, 5e-3 in float16 and 3e-2 in bfloat16.
_ROUNDINGS = {torch.float64: 1e-9, torch.float32: 2e-4, torch.float16: 0.03}
_BFLOAT16_ROUNDING = 0.1
# Difference of the first layer's inputs, relative to their root mean square.
_STARTS = {torch.float64: 1e-6, torch.float32: 1e-4}
_HALF_START = 0.02
# Factor between the noise of two independent rows and what counts as influence.
_NOISE_MARGIN = 2.0


class Reading(NamedTuple):
    """The results of a model for a text."""

    logits: Tensor
    """At each token, ``[N, V]``."""
    start: Tensor | None
    """The input of the first layer, ``[N, I]``; None if the layer does not read one row per token."""


class Agreement:
    """The limits for one model.

    Args:
        dtype: of its weights.
        alone: some texts, each run alone.
        noise: root mean square of the change of a row's logits when another row of the batch changes. It is 0
            in most models; a mixture of experts multiplies matrices of other shapes when other texts change.
    """

    def __init__(self, dtype: torch.dtype, alone: Sequence[Reading], noise: float = 0.0):
        self.scale = float(torch.cat([each.logits for each in alone]).std())
        self.rounding = _ROUNDINGS.get(dtype, _BFLOAT16_ROUNDING) * self.scale
        self.start = _STARTS.get(dtype, _HALF_START)
        self.influence = _INFLUENCES.get(dtype, _HALF_INFLUENCE) * self.scale
        # A difference larger than rounding means that the rows of a batch influence each other.
        self.noise = noise if noise <= self.rounding else 0.0

    def is_influenced(self, found: Tensor, before: Tensor) -> bool:
        """Return whether a text's logits ``[N, V]`` changed when only other texts were changed."""
        difference = (found - before).abs()
        if _is_at_most(difference.max(), self.influence):
            return False
        return not _is_at_most(_mean_square(difference), _NOISE_MARGIN * self.noise)

    def differs(self, found: Reading, alone: Reading) -> bool:
        """Return whether a text's results differ from those of the text alone."""
        if not _is_at_most(_mean_square(found.logits - alone.logits), self.rounding):
            return True
        if found.start is None or alone.start is None:
            return False
        change = _mean_square(found.start - alone.start)
        return not _is_at_most(change, self.start * float(_mean_square(alone.start)))


def measure_change(left: Tensor, right: Tensor) -> float:
    """Measure the root mean square of a change of logits ``[N, V]``."""
    return float(_mean_square(left - right))


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().mean().sqrt()


def _is_at_most(value: Tensor, limit: float) -> bool:
    # Written so that NaN is not.
    return bool(value <= limit)
