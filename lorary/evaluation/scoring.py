"""Running examples through a model: likelihoods of given answers, and generated answers."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from lorary.assembly import RoutedModel
from lorary.assembly.answer_limits import cut_at_stops
from lorary.assembly.decoding import decode_answers
from lorary.assembly.prompts import find_ending_ids
from lorary.evaluation.items import Item
from lorary.evaluation.route_experts import RouteExperts
from lorary.passes import judge_pass, split_passes
from lorary.passes.layout import Layout

Report = Callable[[int], None]
"""Called with an amount of finished work: scored tokens, or the maximum number of tokens of answers."""


class Scored(NamedTuple):
    """The model's score of a given answer."""

    loss: float
    """Sum of the negative log-likelihoods of its tokens, in nats."""
    is_likeliest: bool
    """Whether each of its tokens is the model's own choice, so that greedy decoding writes it."""


Keep = Callable[[Sequence[int], Sequence[Any]], None]
"""Called after each batch with its items, by their places, and the response to each."""


def forget(places: Sequence[int], responses: Sequence[Any]) -> None:
    """Keep nothing; see ``Keep``."""


@torch.inference_mode()
def score_targets(
    experts: RouteExperts,
    items: Sequence[Item],
    layout: Layout,
    *,
    tokens_per_pass: int,
    row_length: int,
    report: Report,
    keep: Keep = forget,
) -> list[Scored]:
    """Score each item's target tokens.

    Args:
        experts: the experts of each item.
        items: prompts with answers.
        layout: an exact layout on the model. If it shares prefixes, only texts of one task with the same
            experts share them, because hidden states depend on the experts.
        tokens_per_pass: maximum number of tokens in one forward pass.
        row_length: length of packed rows.
        report: called with the number of tokens of each pass.
        keep: called with the scores of each pass.

    Returns:
        The scores of each item, in order.
    """
    if not items:
        return []
    chooser, requests = experts.group(items)
    device = experts.stack.model.device
    found: list[Scored] = [Scored(0.0, True)] * len(items)
    passes = split_passes(
        [item.tokens for item in items],
        requests,
        layout,
        tokens_per_pass=tokens_per_pass,
        row_length=row_length,
        device=device,
    )
    for part in passes:
        losses, is_likeliest = judge_pass(experts.stack, part, chooser)
        owners, count = part.batch.label_owner, len(part.members)
        sums = torch.zeros(count, device=device).index_add_(0, owners, losses)
        misses = torch.zeros(count, device=device).index_add_(0, owners, (~is_likeliest).float())
        places = part.members.tolist()
        scored = [Scored(*pair) for pair in zip(sums.tolist(), (misses == 0).tolist(), strict=True)]
        for place, each in zip(places, scored, strict=True):
            found[place] = each
        keep(places, scored)
        report(sum(len(items[place].tokens) for place in places))
    return found


def generate_answers(
    model: RoutedModel,
    experts: RouteExperts,
    items: Sequence[Item],
    *,
    batch_size: int,
    report: Report,
    keep: Keep = forget,
) -> list[str]:
    """Generate an answer to each item's prompt, by greedy decoding or as its ``Draw`` says.

    Args:
        model: the model.
        experts: the experts of each item.
        items: prompts; their targets are not used.
        batch_size: number of prompts in a batch.
        report: called after each batch, with the maximum number of tokens of its answers.
        keep: called with the answers of each batch.

    Returns:
        One answer for each item, in order.
    """
    answers = [""] * len(items)
    for members in _batch_generation(items, batch_size):
        chosen = [items[index] for index in members]
        found = _answer_batch(model, experts, chosen)
        for index, answer in zip(members, found, strict=True):
            answers[index] = answer
        keep(members, found)
        report(sum(item.max_new_tokens for item in chosen))
    return answers


def _answer_batch(model: RoutedModel, experts: RouteExperts, items: Sequence[Item]) -> list[str]:
    """Answer items with the same stops and the same sampling."""
    prompts = [item.tokens.prompt_ids for item in items]
    stops, drawn = items[0].stops, items[0].drawn
    sampling: dict[str, Any] = {}
    if drawn is not None:
        sampling = {"temperature": drawn.temperature, "top_p": drawn.top_p, "seed": _choose_seed(items)}
    found: Any = model.generate(
        prompts,
        experts=experts.choose_for(items),
        max_new_tokens=[item.max_new_tokens for item in items],
        first_line=[item.first_line for item in items],
        stop_strings=stops,
        **sampling,
    )
    if model.base.given_tokenizer is not None:
        return list(found)
    texts = decode_answers(
        model.tokenizer,
        prompts,
        found,
        find_ending_ids(model.base),
        is_encoder_decoder=model.base.is_encoder_decoder,
    )
    return [cut_at_stops(text, stops) for text in texts]


def _choose_seed(items: Sequence[Item]) -> int:
    """Choose the seed of a batch's sampling by its content, so that equal batches have equal answers."""
    content = repr([(item.tokens.prompt_ids, item.drawn) for item in items]).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "little")


def _batch_generation(items: Sequence[Item], batch_size: int) -> Iterable[list[int]]:
    """Return batches of items with similar prompt lengths, the same stops and the same sampling."""
    groups: dict[Any, list[int]] = {}
    for index, item in enumerate(items):
        drawn = None if item.drawn is None else (item.drawn.temperature, item.drawn.top_p)
        groups.setdefault((item.stops, drawn), []).append(index)
    for members in groups.values():
        order = sorted(members, key=lambda index: len(items[index].tokens.prompt_ids))
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]
