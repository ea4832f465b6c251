"""Running examples through a model: likelihoods of given answers, and answers of its own."""

from collections.abc import Callable, Iterable, Sequence

import torch

from lorary.assembly import RoutedModel
from lorary.evaluation.items import Item
from lorary.evaluation.route_experts import RouteExperts
from lorary.passes import Layout, score_pass, split_passes

Report = Callable[[int], None]
"""Called with an amount of work done: tokens scored, or the most tokens that answers could have had."""


@torch.inference_mode()
def score_targets(
    experts: RouteExperts,
    items: Sequence[Item],
    layout: Layout,
    *,
    tokens_per_pass: int,
    row_length: int,
    report: Report,
) -> list[float]:
    """Sum the negative log-likelihood of each item's target tokens.

    Args:
        experts: who answers.
        items: prompts with answers.
        layout: what is exact on the model. Where it shares beginnings, texts of one task and the same experts
            do: what a cell holds depends on the experts that made it.
        tokens_per_pass: most tokens in one forward pass.
        row_length: of packed rows.
        report: told the tokens of each pass.

    Returns:
        One sum per item, in their order.
    """
    if not items:
        return []
    chooser, requests = experts.group(items)
    device = experts.stack.model.device
    sums = torch.zeros(len(items), device=device)
    passes = split_passes(
        [item.tokens for item in items],
        requests,
        layout,
        tokens_per_pass=tokens_per_pass,
        row_length=row_length,
        device=device,
    )
    for part in passes:
        sums.index_add_(0, part.sequence, score_pass(experts.stack, part, chooser))
        report(sum(len(items[index].tokens) for index in part.members.tolist()))
    return sums.tolist()


def generate_answers(
    model: RoutedModel, experts: RouteExperts, items: Sequence[Item], *, batch_size: int, report: Report
) -> list[str]:
    """Let the model answer each item's prompt, likeliest token first.

    Args:
        model: the model.
        experts: who answers.
        items: prompts; their targets are not looked at.
        batch_size: how many are answered at once.
        report: told, for each batch, the most tokens that its answers could have had.

    Returns:
        One answer per item, in their order.
    """
    answers = [""] * len(items)
    for members in _batch_generation(items, batch_size):
        chosen = [items[index] for index in members]
        found = model.generate(
            [item.tokens.prompt_ids for item in chosen],
            experts=experts.choose_for(chosen),
            max_new_tokens=[item.max_new_tokens for item in chosen],
            first_line=[item.first_line for item in chosen],
        )
        for index, answer in zip(members, found, strict=True):
            answers[index] = answer
        report(sum(item.max_new_tokens for item in chosen))
    return answers


def _batch_generation(items: Sequence[Item], batch_size: int) -> Iterable[list[int]]:
    """Batch neighbours in prompt length; an answer that is done leaves its batch."""
    order = sorted(range(len(items)), key=lambda index: len(items[index].tokens.prompt_ids))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
