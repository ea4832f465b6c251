"""Reading prompts of a new task through the base model with the experts attached."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from lorary.adaptation.chosen import choose_experts
from lorary.adaptation.retrieval.contract import RetrievalContext
from lorary.assembly import RoutedModel, load_model
from lorary.facts.requests import Requests, cut_passes, pad_prompts

TOKENS_PER_PASS = 2048


@contextmanager
def attached(context: RetrievalContext, names: Sequence[str]) -> Iterator[RoutedModel]:
    """Attach the experts to the base model within this context; no router chooses."""
    experts = choose_experts(context.experts, names)
    model = load_model(context.base, experts, router=None, trust_base=context.trust_base)
    try:
        yield model
    finally:
        model.detach()


def cut_prompts(prompts: Sequence[Sequence[int]], device: torch.device) -> Iterator[Requests]:
    """Divide prompts, given as token ids, into passes of bounded size."""
    for members in cut_passes([len(ids) for ids in prompts], TOKENS_PER_PASS):
        yield pad_prompts([prompts[member] for member in members], device)
