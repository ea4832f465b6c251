"""The loss of many experts in one forward pass.

B rows, L row length, N target tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lorary.data.tokens import TokenizedExample
from lorary.models import ExpertStack, target_losses
from lorary.passes.packing import pack_sequences


def example_losses(
    stack: ExpertStack,
    examples: Sequence[TokenizedExample],
    slots: Sequence[int],
    *,
    scale: float,
    row_length: int,
    share: bool,
) -> tuple[Tensor, Tensor]:
    """Run examples through the model, each with the expert in its slot, and score their target tokens.

    Args:
        stack: the experts on the model.
        examples: what to run.
        slots: the slot of each.
        scale: LoRA's factor before ``b @ a``.
        row_length: of the packed rows.
        share: whether examples in one slot share the cells of equal beginnings.

    Returns:
        Negative log-likelihoods ``[N]`` in float32, and the example each belongs to ``[N]``.
    """
    batch = pack_sequences(examples, row_length, groups=slots if share else None).to(stack.model.device)
    indices = torch.tensor(slots)[:, None]  # [examples, 1]
    with stack.planned(indices, torch.full(indices.shape, scale), rows=batch.owner):
        losses = target_losses(
            stack.model, batch.model_inputs(stack.model.dtype), batch.positions, batch.labels
        )
    return losses, batch.label_owner
