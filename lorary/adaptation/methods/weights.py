"""Weights of the experts, trained by gradient: the new expert is their exact weighted sum."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.methods.contract import Context, NewTask, Trained
from lorary.adaptation.methods.weighted import sum_experts
from lorary.training.loop.event import TrainEvent
from lorary.training.weight_training import train_weights


def train(context: Context, tasks: Mapping[str, NewTask]) -> dict[str, Trained]:
    """Train the weights of all tasks in the same passes, and add the experts up."""
    config = context.config

    def tell(event: TrainEvent[dict[str, Tensor]]) -> None:
        context.on_progress(AdaptEvent.of_training(event))

    outcome = train_weights(
        context.base,
        context.experts,
        {name: list(task.chosen) for name, task in tasks.items()},
        {name: task.examples for name, task in tasks.items()},
        replace(context.train, learning_rate=config.weights_learning_rate),
        context.folder,
        granularity=config.granularity,
        trust_base=context.trust_base,
        general=context.general,
        on_progress=tell,
    )
    found = {}
    for name, own in outcome.items():
        expert, error = sum_experts(context, name, own.weights, config.granularity, config.mixed_rank)
        found[name] = Trained(expert=expert, progress=own.progress, weights=own.weights, error=error)
    return found
