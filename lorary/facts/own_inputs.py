"""Inputs of experts' layers on texts of their own tasks, for merging by RegMean.

N inputs of an expert, I layer input.
"""

from collections.abc import Mapping
from itertools import islice

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.facts.own_texts import OwnText, Sequences, read_own_texts
from lorary.models import ExpertStack
from lorary.models.same_input import group_same_inputs


def collect_inputs(
    stack: ExpertStack,
    texts: Mapping[str, Sequences],
    num_tokens: int = 512,
    *,
    tokens_per_pass: int = 2048,
) -> dict[str, list[Tensor]]:
    """Collect the inputs of each layer with experts while each expert reads texts of its own task.

    Args:
        stack: the experts on the model.
        texts: expert -> texts of its own task, see ``OwnText``.
        num_tokens: maximum number of tokens per expert. Its first texts are used; the last one may be cut.
            Prompts with targets, for an encoder and a decoder, are not cut: the last one may exceed it.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.

    Returns:
        Module path -> the inputs ``[N, I]`` of each expert, in the order of ``texts``, in the model's dtype,
        on the CPU. ``merge`` takes them as ``activations``. Layers that receive the same input, such as q, k
        and v, share the same tensors.

    Raises:
        ValueError: if an expert has no tokens, or ``num_tokens`` is below 1.
        UnknownExpert: if an expert is not on the model.
    """
    if num_tokens < 1:
        raise ValueError(f"num_tokens must be at least 1, found {num_tokens!r}")
    leaders = {path: group[0] for group in group_same_inputs(stack) for path in group}
    parts: dict[str, list[list[Tensor]]] = {path: [[] for _ in texts] for path in set(leaders.values())}

    def keep(path: str, owner: Tensor, x: Tensor) -> None:
        if path in parts:
            for row in owner.unique().tolist():
                parts[path][row].append(x[owner == row].cpu())

    few = {name: _cut_texts(own, num_tokens) for name, own in texts.items()}
    read_own_texts(stack, few, keep, tokens_per_pass=tokens_per_pass)
    found = {path: [torch.cat(tensors) for tensors in rows] for path, rows in parts.items()}
    return {path: found[leaders[path]] for path in stack.layers}


def _cut_texts(texts: Sequences, num_tokens: int) -> list[OwnText]:
    """Return the first texts, cut so that all together have at most ``num_tokens`` tokens."""
    kept: list[OwnText] = []
    for text in texts:
        room = num_tokens - sum(map(len, kept))
        if room > 0:
            kept.append(text if isinstance(text, TokenizedExample) else list(islice(text, room)))
    return kept
