"""Activations of the base model on prompts, averaged over each prompt.

P prompts, B rows of a pass, L row length, F features, D width of the last hidden states.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from lorary.facts.requests import Requests
from lorary.models import ExpertStack, select_positions
from lorary.models.architecture import is_encoder_decoder, reading_inputs
from lorary.models.capture import Receive, capture_inputs, capture_outputs
from lorary.models.per_thread import in_this_thread
from lorary.routing.request import OUTPUT, TokenDescriber


@torch.no_grad()
def read_averages(
    stack: ExpertStack,
    router: TokenDescriber,
    requests: Requests,
    plan: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Run prompts through the base model, and average the router's token features over each prompt.

    Args:
        stack: the experts on the model; they are switched off during this pass, unless there is a plan.
        router: defines the places (module paths, or the output layer) and the features of tokens there.
        requests: the prompts, on the model's device.
        plan: the experts that are on, and their weights, ``[1, K]`` for all prompts or ``[P, K]`` for
            prompts that each have a row of their own; None for no experts.

    Returns:
        Place -> averages ``[P, F]``, float32, on the place's device. If an encoder reads the prompts, places
        that do not read them are left out.
    """
    if router.last_share == 1.0:
        cells, weights = requests.last_cells(), None
    else:
        most = getattr(router, "most_tokens", None)
        everything = requests.weigh_cells(router.skips_first, router.last_share, most)
        cells = everything.any(0).nonzero().squeeze(1)  # padding, for example, counts nowhere
        weights = everything[:, cells]
    found: dict[str, Tensor] = {}

    def average(place: str, x: Tensor) -> None:
        if place not in router.places:
            return
        features = router.describe(place, x[cells.to(x.device)]).float()
        found[place] = features if weights is None else weights.to(features.device) @ features
        if layers == found.keys() == set(router.places):
            raise _AllRead

    layers = set(router.places) & stack.layers.keys()
    others = [place for place in router.places if place not in (*layers, OUTPUT)]
    with ExitStack() as contexts:
        if layers:
            mask = torch.ones_like(requests.inputs["input_ids"], dtype=torch.bool)
            contexts.enter_context(capture_inputs(stack, mask, average))
        if OUTPUT in router.places:
            contexts.enter_context(capture_hidden(stack, average))
        contexts.enter_context(capture_outputs(stack.model, others, average))
        contexts.enter_context(suppress(_AllRead))
        read_alone(stack, requests) if plan is None else read_with(stack, requests, *plan)
    return found


class _AllRead(Exception):
    """Raised by a hook to stop a forward pass: later layers are not needed."""


@torch.no_grad()
def read_hidden(stack: ExpertStack, requests: Requests, *, without_general: bool = False) -> Tensor:
    """Run prompts through the base model, and average the last hidden states over each prompt.

    Args:
        stack: the experts on the model; none is chosen.
        requests: the prompts, on the model's device.
        without_general: whether a general expert that experts build on is off too.

    Returns:
        The mean input of the output layer over all tokens of each prompt, ``[P, D]``, float32; or the mean
        output of the encoder, if the model has one.
    """
    weights = requests.weigh_cells(skip_first=False)
    found: list[Tensor] = []

    def average(place: str, x: Tensor) -> None:
        found.append(weights.to(x.device) @ x.float())

    with capture_hidden(stack, average):
        read_alone(stack, requests, without_general=without_general)
    return found[0]


@contextmanager
def capture_hidden(stack: ExpertStack, receive: Receive) -> Iterator[None]:
    """Within this context, ``receive`` gets the output layer's inputs whenever this thread runs the model.

    Args:
        stack: the experts on the model.
        receive: called with ``OUTPUT`` and the last hidden states of all tokens, ``[B×L, D]``. If an encoder
            reads the tokens, these are its outputs.
    """
    model = stack.model

    def hand_over(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        receive(OUTPUT, inputs[0].detach().flatten(0, -2))

    def hand_over_encoded(encoder: nn.Module, inputs: object, output: Any) -> None:
        receive(OUTPUT, output[0].detach().flatten(0, -2))

    if is_encoder_decoder(model):
        handle = model.get_encoder().register_forward_hook(in_this_thread(hand_over_encoded))
    else:
        handle = model.get_output_embeddings().register_forward_pre_hook(in_this_thread(hand_over))
    try:
        yield
    finally:
        handle.remove()


def read_alone(stack: ExpertStack, requests: Requests, *, without_general: bool = False) -> None:
    """Run the base model on prompts, for hooks on its layers; its output is discarded.

    No expert is chosen. A general expert that experts build on is on, as it is whatever a router chooses.
    """
    # Logits are not used, so they are computed at one position only.
    nowhere = torch.zeros(1, dtype=torch.long, device=stack.model.device)
    chosen = stack.choosing(None) if without_general else stack.without_choice()
    with chosen, select_positions(stack.model, nowhere):
        stack.model(**reading_inputs(stack.model, requests.inputs))


def read_with(stack: ExpertStack, requests: Requests, indices: Tensor, weights: Tensor) -> None:
    """Run the base model with experts on prompts, for hooks on its layers; its output is discarded.

    Args:
        stack: the experts on the model.
        requests: the prompts.
        indices: the experts that are on, ``[1, K]`` for all prompts or ``[P, K]`` for prompts that each have
            a row of their own.
        weights: their weights, of the same shape; zeros for no expert.
    """
    ids = requests.inputs["input_ids"]
    # Prompts of one request may share rows, and cells.
    rows = torch.zeros_like(ids) if len(indices) == 1 else None
    plan = stack.plan(indices, weights, general=torch.ones(len(indices), dtype=torch.bool))
    nowhere = torch.zeros(1, dtype=torch.long, device=stack.model.device)
    if rows is not None and is_encoder_decoder(stack.model):
        rows = rows[:, 0]  # of each row, since the decoder's rows have other lengths
    num_requests = None if rows is not None else len(indices)
    with stack.choosing(plan, rows, num_requests), select_positions(stack.model, nowhere):
        stack.model(**reading_inputs(stack.model, requests.inputs))
