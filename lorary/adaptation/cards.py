"""The cards of new experts, which record their origin."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from lorary.adaptation.checks import ORIGIN
from lorary.adaptation.config import AdaptConfig
from lorary.adaptation.methods.contract import Context, NewTask, Trained, Weights
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.result import AdaptedTask
from lorary.experts.roles import EXPERT


def describe_result(context: Context, task: NewTask, found: Trained) -> AdaptedTask:
    """Write the card of a new expert."""
    num_read = task.examples.spent_tokens + found.num_tokens
    parents = list_parents(found.weights)
    if context.trains_general and context.general is not None:
        parents = (*parents, context.general.name)
    origin = {
        **plan_origin(task.name, context.config),
        "scores": {name: score for name, score in task.chosen.items() if score is not None},
        "weights": dict(found.weights),
        "tokens_read": num_read,
        "relative_error": found.error,
    }
    loss = found.progress.best_loss
    card = replace(
        found.expert.card,
        tasks=task.examples.tasks or (task.name,),
        parents=parents,
        role=EXPERT,
        scores={} if loss is None else {"validation_loss": loss},
        provenance={**_describe_training(context, task, found), ORIGIN: origin},
    )
    expert = replace(found.expert, name=task.name, card=card)
    return AdaptedTask(
        expert=expert,
        progress=found.progress,
        scores=task.chosen,
        weights=found.weights,
        num_read=num_read,
        error=found.error,
    )


def plan_origin(task: str, config: AdaptConfig) -> dict[str, Any]:
    """Return the part of a card that is known before an adaptation: task, method, settings, seed.

    Args:
        task: the task's name.
        config: the complete configuration, see ``complete_config``.
    """
    own = {name: getattr(config, name) for name in METHODS[config.method].settings}
    return {"task": task, "method": config.method, **own, "seed": config.train.seed}


def _describe_training(context: Context, task: NewTask, found: Trained) -> dict[str, Any]:
    """Return the fields of trained experts' cards, which sums of experts do not have yet."""
    return {
        "training": asdict(context.train),
        "data": {"digest": task.examples.digest, "num_train": len(task.examples.train)},
        "steps": found.progress.step,
        "best_step": found.progress.best_step,
        "tokens": found.progress.tokens,
        **found.expert.card.provenance,
    }


def list_parents(weights: Weights) -> tuple[str, ...]:
    """List the experts with a weight other than 0, in any group of layers."""
    names: dict[str, None] = {}
    for key, value in weights.items():
        if isinstance(value, Mapping):
            names.update(dict.fromkeys(name for name, weight in value.items() if weight))
        elif value:
            names[key] = None
    return tuple(names)
