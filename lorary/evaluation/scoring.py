"""Running examples through a model: likelihoods of given answers, and generated answers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from lorary.assembly import RoutedModel
from lorary.assembly.decoding import decode_answers
from lorary.assembly.prompts import find_ending_ids
from lorary.evaluation.items import Item
from lorary.evaluation.route_experts import RouteExperts
from lorary.passes import score_pass, split_passes
from lorary.passes.layout import Layout

Report = Callable[[int], None]
"""Called with an amount of finished work: scored tokens, or the maximum number of tokens of answers."""


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
        experts: the experts of each item.
        items: prompts with answers.
        layout: an exact layout on the model. If it shares beginnings, only texts of one task with the same
            experts share them, because hidden states depend on the experts.
        tokens_per_pass: maximum number of tokens in one forward pass.
        row_length: length of packed rows.
        report: called with the number of tokens of each pass.

    Returns:
        One sum for each item, in order.
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
    """Generate an answer to each item's prompt, by greedy decoding.

    Args:
        model: the model.
        experts: the experts of each item.
        items: prompts; their targets are not used.
        batch_size: number of prompts in a batch.
        report: called after each batch, with the maximum number of tokens of its answers.

    Returns:
        One answer for each item, in order.
    """
    answers = [""] * len(items)
    for members in _batch_generation(items, batch_size):
        chosen = [items[index] for index in members]
        prompts = [item.tokens.prompt_ids for item in chosen]
        found: Any = model.generate(
            prompts,
            experts=experts.choose_for(chosen),
            max_new_tokens=[item.max_new_tokens for item in chosen],
            first_line=[item.first_line for item in chosen],
        )
        if model.base.given_tokenizer is None:
            found = decode_answers(
                model.tokenizer,
                prompts,
                found,
                find_ending_ids(model.base),
                is_encoder_decoder=model.base.is_encoder_decoder,
            )
        for index, answer in zip(members, found, strict=True):
            answers[index] = answer
        report(sum(item.max_new_tokens for item in chosen))
    return answers


def _batch_generation(items: Sequence[Item], batch_size: int) -> Iterable[list[int]]:
    """Return batches of items with similar prompt lengths."""
    order = sorted(range(len(items)), key=lambda index: len(items[index].tokens.prompt_ids))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
