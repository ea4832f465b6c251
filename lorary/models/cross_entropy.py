"""Cross-entropy of wide logits, without a float32 copy of all of them.

N positions, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

# Logits per block, 4 MB in float32, so that a block stays in the processor's cache.
_BLOCK_NUMEL = 2**20


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of each label, as ``torch.nn.functional.cross_entropy`` does in float32.

    Args:
        logits: ``[N, V]``, of any floating dtype.
        labels: ``[N]``.

    Returns:
        Negative log-likelihoods, ``[N]``, float32. Differentiable in ``logits``.
    """
    return _CrossEntropy.apply(logits, labels)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        rows = _rows_per_block(logits)
        log_sums = torch.cat([block.float().logsumexp(-1) for block in logits.split(rows)])  # [N]
        ctx.save_for_backward(logits, labels, log_sums)
        return log_sums - logits.gather(1, labels[:, None]).squeeze(1).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, labels, log_sums = ctx.saved_tensors
        found = torch.empty_like(logits)
        rows = _rows_per_block(logits)
        parts = (tensor.split(rows) for tensor in (logits, log_sums, gradient, found))
        for block, log_sum, scale, out in zip(*parts, strict=True):
            torch.mul((block.float() - log_sum[:, None]).exp_(), scale[:, None], out=out)
        right = labels[:, None]
        # The label's gradient, p - 1, is computed in float32: from the rounded p it would be inexact near 0.
        exact = ((logits.gather(1, right).float() - log_sums[:, None]).exp() - 1) * gradient[:, None]
        return found.scatter_(1, right, exact.to(found.dtype)), None


def _rows_per_block(logits: Tensor) -> int:
    return max(1, _BLOCK_NUMEL // logits.shape[1])
