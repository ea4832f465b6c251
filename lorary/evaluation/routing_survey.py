"""The average use of experts by a router on many tasks.

T tokens, L routed modules, E experts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.assembly import Explanation, RoutedModel
from lorary.data import Task, TaskLike, Template, gather_tasks
from lorary.evaluation.chosen_examples import choose_examples
from lorary.evaluation.config import EvalConfig
from lorary.evaluation.request_scores import RequestScores
from lorary.routing.diagnostics import routing_entropy
from lorary.routing.doubt import RIVAL


@dataclass(frozen=True)
class RoutingSurvey:
    """The routing of some examples of each task. The remaining share is that of the base model,
    or of a general expert that the router falls back on."""

    usage_by_task: Mapping[str, Mapping[str, float]]
    """Task -> expert -> share: the mean over tokens and modules of an example, then over examples."""
    usage_by_layer: Mapping[str, Mapping[str, float]]
    """Decoder layer -> expert -> share: the mean over its modules and the examples of all tasks. Empty for a
    request router, since all layers have the same shares then."""
    entropy_by_layer: Mapping[str, float]
    """Decoder layer -> mean entropy of a token's shares, in nats; empty as above."""
    scores_by_task: Mapping[str, RequestScores]
    """Task -> the scores of a request router; empty for other routers."""


def survey_routing(
    model: RoutedModel,
    tasks: Mapping[str, TaskLike],
    template: Template,
    config: EvalConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> RoutingSurvey:
    """Run examples, prompt and target, with the model's router, and average its weights.

    If the base model has an encoder, the encoder reads the prompts alone.

    Args:
        model: the model, with a router.
        tasks: name -> task, or what ``read_task`` reads.
        template: turns examples into prompts.
        config: has the split, the number of examples of each task, and their maximum length.
        on_progress: called with the number of finished tasks and of all tasks.

    Raises:
        DataError: if a task has no example that fits.
        ValueError: if there is no router or no task, or a weight is negative, so that it is not a share.
    """
    if not tasks:
        raise ValueError("a survey of routing needs at least one task, found none")
    by_task, by_module, entropies, scores = {}, [], [], {}
    for number, (name, task) in enumerate(gather_tasks(tasks).items(), 1):
        explanations = _explain_task(model, name, task, template, config)
        shares = torch.stack([found.shares_per_layer() for found in explanations]).mean(0)  # [L, E]
        by_task[name] = _name_shares(model, shares.mean(0))
        by_module.append(shares)
        entropies.append(torch.stack([_entropy_per_module(found) for found in explanations]).mean(0))
        scored = [found.scores for found in explanations if found.scores is not None]
        if scored:
            scores[name] = average_scores(model.names, torch.stack(scored))
        if on_progress is not None:
            on_progress(number, len(tasks))
    if scores:
        return RoutingSurvey(by_task, {}, {}, scores)
    layers = explanations[0].layers
    usage = merge_modules(layers, torch.stack(by_module).mean(0))
    entropy_of = merge_modules(layers, torch.stack(entropies).mean(0))
    return RoutingSurvey(
        by_task,
        {layer: _name_shares(model, row) for layer, row in usage.items()},
        {layer: float(value) for layer, value in entropy_of.items()},
        {},
    )


def average_scores(names: Sequence[str], scores: Tensor) -> RequestScores:
    """Average the scores of requests, ``[B, E]``, and the margins of their best ones."""
    ranked = scores.sort(dim=1, descending=True).values
    margin = (ranked[:, 0] - ranked[:, min(RIVAL, len(names) - 1)]).mean()
    means = dict(zip(names, scores.mean(0).tolist(), strict=True))
    return RequestScores(dict(sorted(means.items(), key=lambda item: -item[1])), float(margin))


def merge_modules(paths: Sequence[str], rows: Tensor) -> dict[str, Tensor]:
    """Average the rows of each decoder layer's modules, since a model may have hundreds of modules.

    Args:
        paths: L module paths, such as ``model.layers.3.mlp.up_proj``.
        rows: a row for each, ``[L, *]``.

    Returns:
        Number of the layer, or path of a module that is in no layer -> the mean of its rows, ``[*]``.
    """
    grouped: dict[str, list[Tensor]] = {}
    for path, row in zip(paths, rows, strict=True):
        number = next((part for part in path.split(".") if part.isdigit()), path)
        grouped.setdefault(number, []).append(row)
    return {number: torch.stack(group).mean(0) for number, group in grouped.items()}


def _explain_task(
    model: RoutedModel, name: str, task: Task, template: Template, config: EvalConfig
) -> list[Explanation]:
    """Explain the routing of each chosen example of a task."""
    explanations = []
    is_pair = model.base.is_encoder_decoder
    chosen = choose_examples(model.tokenizer, name, task, template, config, is_encoder_decoder=is_pair)
    for tokens in chosen.tokens.examples:
        text = [*tokens.prompt_ids, *(() if is_pair else tokens.target_ids)]
        explanation = model.explain(text, num_prompt_tokens=len(tokens.prompt_ids)).only(model.names)
        if (explanation.weights < 0).any():
            raise ValueError("a survey of routing needs weights of at least 0, this router has negative ones")
        explanations.append(explanation)
    return explanations


def _entropy_per_module(explanation: Explanation) -> Tensor:
    """Return the mean entropy of each module's tokens, ``[L]``; the base model's share is included."""
    shares = explanation.shares()
    left = (1 - shares.sum(-1, keepdim=True)).clamp(min=0)  # [L, T, 1]
    return routing_entropy(torch.cat([shares, left], dim=-1)).mean(1)


def _name_shares(model: RoutedModel, shares: Tensor) -> dict[str, float]:
    return dict(zip(model.names, shares.tolist(), strict=True))
