"""What a router did on many tasks, averaged.

T tokens, L routed modules, E experts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.assembly import Explanation, RoutedModel
from lorary.data import Task, Template
from lorary.evaluation.chosen_examples import choose_examples
from lorary.evaluation.config import EvalConfig
from lorary.routing.diagnostics import routing_entropy


@dataclass(frozen=True)
class RoutingSurvey:
    """The routing of some examples of each task. What shares lack to 1 went to the base model."""

    usage_by_task: Mapping[str, Mapping[str, float]]
    """Task -> expert -> share: the mean over an example's tokens and modules, then over examples."""
    usage_by_layer: Mapping[str, Mapping[str, float]]
    """Decoder layer -> expert -> share: the mean over its modules and the examples of all tasks."""
    entropy_by_layer: Mapping[str, float]
    """Decoder layer -> entropy of a token's shares in nats, averaged likewise."""


def survey_routing(
    model: RoutedModel,
    tasks: Mapping[str, Task],
    template: Template,
    config: EvalConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> RoutingSurvey:
    """Run examples, prompt and target, under the router that is set, and average what it did.

    Args:
        model: the model, with a router.
        tasks: where examples are from, by name.
        template: how examples become prompts.
        config: the split, how many examples of each task, and how long they may be.
        on_progress: called with the number of tasks done and of all.

    Raises:
        DataError: if a task has no example that fits.
        ValueError: if there is no router or no task, or a weight is below zero, which is no share.
    """
    if not tasks:
        raise ValueError("a survey of routing needs at least one task, found none")
    by_task, by_module, entropies = {}, [], []
    for number, (name, task) in enumerate(tasks.items(), 1):
        shares, entropy, layers = _average_task(model, name, task, template, config)  # [L, E], [L]
        by_task[name] = _name_shares(model, shares.mean(0))
        by_module.append(shares)
        entropies.append(entropy)
        if on_progress is not None:
            on_progress(number, len(tasks))
    usage = merge_modules(layers, torch.stack(by_module).mean(0))
    entropy_of = merge_modules(layers, torch.stack(entropies).mean(0))
    return RoutingSurvey(
        by_task,
        {layer: _name_shares(model, row) for layer, row in usage.items()},
        {layer: float(value) for layer, value in entropy_of.items()},
    )


def merge_modules(paths: Sequence[str], rows: Tensor) -> dict[str, Tensor]:
    """Average a decoder layer's modules: 210 modules are too many to look at.

    Args:
        paths: L module paths, such as ``model.layers.3.mlp.up_proj``.
        rows: a row for each, ``[L, *]``.

    Returns:
        The layer's number, or the path of a module that is in none -> the mean of its rows, ``[*]``.
    """
    grouped: dict[str, list[Tensor]] = {}
    for path, row in zip(paths, rows, strict=True):
        number = next((part for part in path.split(".") if part.isdigit()), path)
        grouped.setdefault(number, []).append(row)
    return {number: torch.stack(group).mean(0) for number, group in grouped.items()}


def _average_task(
    model: RoutedModel, name: str, task: Task, template: Template, config: EvalConfig
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Give the mean shares ``[L, E]`` and entropies ``[L]`` of a task's examples, and the modules' paths."""
    shares, entropies = [], []
    for tokens in choose_examples(model.tokenizer, name, task, template, config).tokens.examples:
        text = [*tokens.prompt_ids, *tokens.target_ids]
        explanation = model.explain(text, num_prompt_tokens=len(tokens.prompt_ids))
        if (explanation.weights < 0).any():
            raise ValueError("a survey of routing shows shares, and this router gives weights below zero")
        shares.append(explanation.shares_per_layer())
        entropies.append(_entropy_per_module(explanation))
    return torch.stack(shares).mean(0), torch.stack(entropies).mean(0), explanation.layers


def _entropy_per_module(explanation: Explanation) -> Tensor:
    """Average the entropy of a module's tokens, ``[L]``; what is left to the base model counts as a share."""
    shares = explanation.shares()
    left = (1 - shares.sum(-1, keepdim=True)).clamp(min=0)  # [L, T, 1]
    return routing_entropy(torch.cat([shares, left], dim=-1)).mean(1)


def _name_shares(model: RoutedModel, shares: Tensor) -> dict[str, float]:
    return dict(zip(model.names, shares.tolist(), strict=True))
