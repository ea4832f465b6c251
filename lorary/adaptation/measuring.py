"""Losses of new experts on examples that they were not trained on.

N target tokens of a pass.
"""

from collections.abc import Mapping, Sequence

import torch

from lorary.data import TokenizedExample
from lorary.experts import Expert
from lorary.experts.on_top import join_general
from lorary.models import BaseModel, attach_experts
from lorary.passes import find_layout, score_pass, split_passes
from lorary.training import TrainConfig


@torch.no_grad()
def measure_losses(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, Sequence[TokenizedExample]],
    config: TrainConfig,
    general: Expert | None = None,
) -> dict[str, list[float]]:
    """Measure the loss of each example under its own expert.

    Args:
        base: the base model, without experts attached.
        experts: task -> its expert.
        examples: task -> its examples, for tasks with an expert.
        config: has the sizes of passes and rows.
        general: the general expert that they build on; None for none.

    Returns:
        Task -> mean loss of the target tokens of each example, in nats.
    """
    tasks = list(experts)
    work = [(task, example) for task in tasks for example in examples[task]]
    if not work:
        return {task: [] for task in tasks}
    stack = attach_experts(base.model, join_general(experts, general))
    try:
        layout = find_layout(stack, max(len(example) for _, example in work), config.row_length)
        places = torch.arange(len(tasks))[:, None]
        plan = stack.plan(places, torch.ones(places.shape))
        sums = torch.zeros(len(work), dtype=torch.float64)
        parts = split_passes(
            [example for _, example in work],
            [tasks.index(task) for task, _ in work],
            layout,
            tokens_per_pass=config.tokens_per_pass,
            row_length=config.row_length,
            device=base.model.device,
        )
        for part in parts:
            losses = score_pass(stack, part, plan)
            sums.index_add_(0, part.sequence.cpu(), losses.double().cpu())
    finally:
        stack.detach()
    found: dict[str, list[float]] = {task: [] for task in tasks}
    for (task, example), total in zip(work, sums.tolist(), strict=True):
        found[task].append(total / len(example.target_ids))
    return found
