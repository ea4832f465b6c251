"""The experts that a route uses for each request.

K experts per request.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from lorary.assembly import RoutedModel
from lorary.assembly.deciding import RequestDecider
from lorary.assembly.router import Router
from lorary.evaluation.items import Item, Prompt
from lorary.facts.requests import Requests, cut_passes, pad_prompts
from lorary.models import ExpertStack
from lorary.passes import split_passes
from lorary.passes.layout import Layout
from lorary.passes.split import read_whole
from lorary.routing import Chooser

Shares = tuple[float | tuple[float, ...], ...]
"""Weights of K experts, or of K experts for each of several groups of layers."""
KnownExperts = tuple[tuple[int, ...], Shares]
"""The experts of a request, as K places in the stack, and their weights."""


@dataclass(frozen=True, kw_only=True)
class RouteExperts:
    """The experts of a route: known in advance by task or by prompt, or chosen by a router."""

    stack: ExpertStack
    """The experts on the model."""
    router: Chooser | None = None
    """Chooses while the model runs, if experts are not known in advance; None for the base model alone."""
    by_task: Mapping[str, KnownExperts] | None = None
    """Task -> its experts, for a route with an expert for each task."""
    by_prompt: Mapping[Prompt, KnownExperts] | None = None
    """Prompt -> its experts, for a request router."""
    combine: str = "outputs"
    """How the known experts are combined, see ``mix``."""
    decider: RequestDecider | None = None
    """The decider that chose for each prompt."""

    def find(self, item: Item) -> KnownExperts | None:
        """Return the experts known for a request; None if a router chooses."""
        if self.by_task is not None:
            return self.by_task[item.task]
        return None if self.by_prompt is None else self.by_prompt[item.request]

    def choose_for(self, items: Sequence[Item]) -> Chooser | None:
        """Return the chooser for a call whose requests are these items, in order."""
        known = [experts for item in items if (experts := self.find(item)) is not None]
        if not known:
            return self.router
        places, weights = zip(*known, strict=True)
        if self.decider is not None:
            return self.decider.make_chooser(torch.tensor(places), torch.tensor(weights), self.combine)
        return self.stack.plan(torch.tensor(places), torch.tensor(weights), self.combine)

    def group(self, items: Sequence[Item]) -> tuple[Chooser | None, list[int]]:
        """Return the chooser for many items; items of one task with the same experts are one request.

        Returns:
            The chooser, and the request of each item.
        """
        numbers: dict[tuple[str, KnownExperts | None], int] = {}
        requests = [numbers.setdefault((item.task, self.find(item)), len(numbers)) for item in items]
        # All items of a request have the same experts, so the first is used.
        item_of = dict(zip(requests, items, strict=True))
        return self.choose_for([item_of[number] for number in range(len(numbers))]), requests


def name_experts(model: RoutedModel, expert_of: Mapping[str, str]) -> RouteExperts:
    """Return the route's experts if each task uses its own expert.

    Raises:
        UnknownExpert: if an expert is not on the model.
    """
    known = {task: ((model.stack.index(expert),), (1.0,)) for task, expert in expert_of.items()}
    return RouteExperts(stack=model.stack, by_task=known)


@torch.inference_mode()
def decide_prompts(
    model: RoutedModel,
    router: Router,
    prompts: Sequence[Prompt],
    layout: Layout,
    *,
    tokens_per_pass: int,
    row_length: int,
) -> RouteExperts:
    """Let a request router choose once for each prompt, without the text after it.

    The base model reads the prompts without experts, so prompts of all tasks may share shared prefixes.

    Args:
        model: the model.
        router: a request router.
        prompts: token ids, at least one each; a prompt may occur several times.
        layout: an exact layout on the model, see ``find_layout``.
        tokens_per_pass: maximum number of tokens in one forward pass.
        row_length: length of packed rows.
    """
    assert router.decider is not None
    different = list(dict.fromkeys(prompts))
    found: dict[Prompt, KnownExperts] = {}
    if layout.is_encoded:
        passes = _pad_encoded(model, different, tokens_per_pass)
    else:
        passes = _pack(model, different, layout, tokens_per_pass, row_length)
    for members, requests in passes:
        indices, weights = router.decider.decide_packed(requests)
        for index, places, shares in zip(members, indices.tolist(), weights.tolist(), strict=True):
            found[different[index]] = tuple(places), _freeze(shares)
    return RouteExperts(stack=model.stack, by_prompt=found, combine=router.combine, decider=router.decider)


def _freeze(shares: Sequence[float | list[float]]) -> Shares:
    return tuple(tuple(each) if isinstance(each, list) else each for each in shares)


def _pack(
    model: RoutedModel, prompts: Sequence[Prompt], layout: Layout, tokens_per_pass: int, row_length: int
) -> Iterator[tuple[list[int], Requests]]:
    """Divide prompts into passes; yield the prompts' numbers and the pass."""
    passes = split_passes(
        [read_whole(prompt) for prompt in prompts],
        [0] * len(prompts),
        layout,
        tokens_per_pass=tokens_per_pass,
        row_length=row_length,
        device=model.model.device,
    )
    for part in passes:
        requests = Requests(
            inputs=part.batch.inputs_for(model.model),
            cells=part.batch.positions,
            owner=part.batch.label_owner,
            count=len(part.members),
        )
        yield part.members.tolist(), requests


def _pad_encoded(
    model: RoutedModel, prompts: Sequence[Prompt], tokens_per_pass: int
) -> Iterator[tuple[list[int], Requests]]:
    """Divide the prompts of an encoder into passes of padded rows, see ``_pack``."""
    for members in cut_passes([len(prompt) for prompt in prompts], tokens_per_pass):
        yield members, pad_prompts([prompts[index] for index in members], model.model.device)
