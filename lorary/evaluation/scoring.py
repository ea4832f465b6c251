"""Running examples through a model: likelihoods of given answers, and answers of its own.

N target tokens.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from lorary.assembly import RoutedModel
from lorary.data.tokens import TokenizedExample
from lorary.evaluation.route_experts import RequestExperts, RouteExperts, plan_cells, plan_rows
from lorary.models import target_losses
from lorary.passes.packing import pack_sequences
from lorary.passes.prefixes import plan_passes

Report = Callable[[int], None]
"""Called with an amount of work done: tokens scored, or the most tokens that answers could have had."""


@dataclass(frozen=True)
class Item:
    """One tokenised text to be scored or continued, and where it belongs."""

    task: str
    """The task's name."""
    tokens: TokenizedExample
    """Prompt and answer."""
    max_new_tokens: int = 0
    """Most tokens of an answer, for generation."""


@torch.inference_mode()
def score_targets(
    model: RoutedModel,
    decisions: RouteExperts,
    items: Sequence[Item],
    *,
    tokens_per_pass: int,
    row_length: int,
    share: bool,
    report: Report,
) -> list[float]:
    """Sum the negative log-likelihood of each item's target tokens.

    Args:
        model: the model, with the route's router.
        decisions: what the route decided beforehand.
        items: prompts with answers.
        tokens_per_pass: most tokens in one forward pass.
        row_length: of the packed rows.
        share: whether texts of one task, and of one decision, share the cells of equal beginnings.
        report: told the tokens of each pass.

    Returns:
        One sum per item, in their order.
    """
    sequences = [item.tokens for item in items]
    # What a cell holds depends on the experts that made it.
    groups = [(item.task, _find_decisions(decisions, [item])) for item in items]
    sums = [0.0] * len(items)
    for members in plan_passes(sequences, groups if share else None, tokens_per_pass):
        batch = pack_sequences(
            [sequences[index] for index in members],
            row_length,
            groups=[groups[index] for index in members] if share else None,
        ).to(model.model.device)
        with plan_cells(model, _find_decisions(decisions, [items[index] for index in members]), batch):
            inputs = batch.model_inputs(model.model.dtype)
            losses = target_losses(model.model, inputs, batch.positions, batch.labels)
        found = torch.zeros(len(members), device=losses.device).index_add(0, batch.label_owner, losses)
        for index, value in zip(members, found.tolist(), strict=True):
            sums[index] = value
        report(sum(len(sequences[index]) for index in members))
    return sums


def generate_answers(
    model: RoutedModel, decisions: RouteExperts, items: Sequence[Item], *, batch_size: int, report: Report
) -> list[str]:
    """Let the model answer each item's prompt, likeliest token first.

    Args:
        model: the model, with the route's router.
        decisions: what the route decided beforehand.
        items: prompts; their targets are not looked at.
        batch_size: how many are answered at once.
        report: told, for each batch, the most tokens that its answers could have had.

    Returns:
        One answer per item, in their order.
    """
    answers = [""] * len(items)
    for members in _batch_generation(items, batch_size):
        chosen = [items[index] for index in members]
        with plan_rows(model, _find_decisions(decisions, chosen)):
            found = model.generate(
                [item.tokens.prompt_ids for item in chosen], max_new_tokens=chosen[0].max_new_tokens
            )
        for index, answer in zip(members, found, strict=True):
            answers[index] = answer
        report(sum(item.max_new_tokens for item in chosen))
    return answers


def _find_decisions(decisions: RouteExperts, items: Sequence[Item]) -> tuple[RequestExperts, ...] | None:
    return decisions.find([item.task for item in items], [item.tokens.prompt_ids for item in items])


def _batch_generation(items: Sequence[Item], batch_size: int) -> Iterable[list[int]]:
    """Batch items that may grow equally long, neighbours in prompt length together."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[item.max_new_tokens].append(index)
    for group in groups.values():
        group.sort(key=lambda index: len(items[index].tokens.prompt_ids))
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]
