"""Build one chooser from the ``experts`` argument of a call.

P requests of a call, K experts of a request.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorary.assembly.deciding import RequestDecider
from lorary.assembly.router import Router
from lorary.assembly.tasks import TASK, is_task_choice, name_task_expert
from lorary.facts.requests import list_prompts
from lorary.files import quote, say_count
from lorary.models import ExpertStack
from lorary.routing import Chooser, Mixed

AUTO = "auto"
"""The current router."""

ExpertChoice = str | Mapping[str, float] | Mapping[str, str | None] | Chooser | None
"""The choice for one request: an expert's name, experts with their weights, ``{"task": name}`` for a task of
the model's skills, a router or any chooser, ``"auto"`` for the current router, or None for the base model
alone."""

STATES = ("past_key_values", "cache_params", "state")
"""The arguments in which models take the state of earlier tokens; outputs have the same names."""


class Decided(NamedTuple):
    """The experts of one request."""

    places: Sequence[int]
    """K places in the stack."""
    weights: Sequence[float]
    """Their weights."""
    with_general: bool = True
    """Whether the general expert that experts build on is active, with weight 1, as for every router."""


def count_requests(inputs: Mapping[str, Any], rows: Tensor | None) -> int:
    """Count the requests of a call.

    Args:
        inputs: the model's keyword arguments.
        rows: the request of each token; None means that each row of the batch is one request.

    Raises:
        ValueError: if the inputs have neither ``input_ids`` nor ``inputs_embeds``.
    """
    if rows is not None:
        return int(rows.max()) + 1 if rows.numel() else 0
    batch = next((inputs[key] for key in ("input_ids", "inputs_embeds") if inputs.get(key) is not None), None)
    if batch is None:
        raise ValueError("experts for each request need input_ids or inputs_embeds, found neither")
    return len(batch)


def find_row_requests(rows: Tensor) -> Tensor:
    """Return the request of each row of an encoder, whose decoder has rows of other lengths.

    Args:
        rows: the request of each token, ``[B, L]``, -1 for padding; or of each row, ``[B]``.

    Raises:
        ValueError: if a row has tokens of several requests.
    """
    if rows.dim() == 1:
        return rows
    requests = rows.amax(1)
    mixed = ((rows != requests[:, None]) & (rows >= 0)).any(1)
    if mixed.any():
        raise ValueError(
            "each row that an encoder reads must be of one request, found several in row "
            f"{int(mixed.nonzero()[0])}: give each request a row of its own"
        )
    return requests


def spread_choices(experts: ExpertChoice | Sequence[ExpertChoice], num_requests: int) -> list[ExpertChoice]:
    """Return the choice of each request; a choice that is not a list is used for all.

    Raises:
        ValueError: if the list has not one choice per request.
    """
    if isinstance(experts, str | Mapping) or not isinstance(experts, Sequence):
        return [experts] * num_requests
    if len(experts) != num_requests:
        raise ValueError(
            f"experts must be one for each of {say_count(num_requests, 'request')}, or one for all, found "
            f"{len(experts)}"
        )
    return list(experts)


class Prompts:
    """The token ids of a call's requests, extracted from its inputs at first use.

    Args:
        inputs: the model's keyword arguments.
        rows: the request of each token; None means that each row of the batch is one request.
    """

    def __init__(self, inputs: Mapping[str, Any], rows: Tensor | None = None):
        self._inputs = inputs
        self._rows = rows
        self._found: list[list[int]] | None = None

    def ids(self, row: int) -> list[int]:
        """Return one request's token ids.

        Raises:
            ValueError: if the inputs do not have the whole prompts as ``input_ids``.
        """
        if self._found is None:
            self._found = self._find()
        return self._found[row]

    def _find(self) -> list[list[int]]:
        inputs = self._inputs
        if inputs.get("input_ids") is None or any(inputs.get(name) is not None for name in STATES):
            found = ", ".join(sorted(name for name, value in inputs.items() if value is not None))
            raise ValueError(
                "a request router needs the whole prompt as input_ids, without "
                f"past_key_values, found {found or 'nothing'}: run the model "
                "within stack.planned(*decider.decide(input_ids)) to continue with a decision"
            )
        if self._rows is None:
            return list_prompts(inputs["input_ids"], inputs.get("attention_mask"))
        ids, rows = inputs["input_ids"].flatten().cpu(), self._rows.flatten().cpu()
        return [ids[rows == row].tolist() for row in range(count_requests(inputs, self._rows))]


def build_chooser(
    stack: ExpertStack,
    choices: Sequence[ExpertChoice],
    default: Chooser | None,
    prompts: Prompts,
) -> Chooser | None:
    """Combine the choices of all requests of a call into one chooser.

    Args:
        stack: the experts on the model.
        choices: one for each request.
        default: the chooser for ``"auto"``; None for the base model alone.
        prompts: the requests' token ids, for routers that decide from them.

    Raises:
        ValueError: if a choice is of another type, a weight is not finite, the model's skills have no such
            task, or a router was built for other experts.
        UnknownExpert: if a name is not on the model.
    """
    # combine -> request -> experts, for requests whose experts are known before the call.
    decided: dict[str, dict[int, Decided]] = {}
    asked: dict[int, tuple[Chooser, list[int]]] = {}
    for row, choice in enumerate(choices):
        found = default if isinstance(choice, str) and choice == AUTO else choice
        if isinstance(found, str | Mapping):
            decided.setdefault("outputs", {})[row] = _name_experts(stack, found)
        elif found is not None:
            asked.setdefault(id(_check_chooser(stack, found)), (found, []))[1].append(row)
    parts: list[tuple[Sequence[int], Chooser]] = []
    for chooser, rows in asked.values():
        if isinstance(chooser, Router) and chooser.decider is not None:
            if chooser.decider.refines:
                parts.append((rows, _refine(chooser, chooser.decider, rows, prompts, len(choices))))
            else:
                decided.setdefault(chooser.combine, {}).update(_decide(chooser.decider, rows, prompts))
        else:
            parts.append((rows, chooser))
    for combine, group in decided.items():
        parts.append((list(group), _plan(stack, group, len(choices), combine)))
    if len(parts) == 1 and len(parts[0][0]) == len(choices):
        return parts[0][1]
    return Mixed(parts) if parts else None


def _name_experts(stack: ExpertStack, choice: str | Mapping[str, Any]) -> Decided:
    if isinstance(choice, Mapping) and is_task_choice(choice):
        choice = name_task_expert(stack.names, choice[TASK])
    weights = {choice: 1.0} if isinstance(choice, str) else choice
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ValueError(
                f"expert {quote(name)} must have a finite weight, found {quote(weight)}: for a task of the "
                "model's skills, give {'task': name} alone"
            )
    general = stack.general
    # A choice that names the general expert sets its weight.
    with_general = (
        general is not None and general.name not in weights and not general.standing.isdisjoint(weights)
    )
    places, shares = [stack.index(name) for name in weights], [float(weight) for weight in weights.values()]
    return Decided(places, shares, with_general)


def _decide(decider: RequestDecider, rows: Sequence[int], prompts: Prompts) -> dict[int, Decided]:
    indices, weights = decider.decide_prompts([prompts.ids(row) for row in rows])
    found = map(Decided, indices.tolist(), weights.tolist())
    return dict(zip(rows, found, strict=True))


def _refine(
    router: Router, decider: RequestDecider, rows: Sequence[int], prompts: Prompts, num_requests: int
) -> Chooser:
    """Decide for some requests, and make a chooser of all; the weights of the others are 0."""
    indices, weights = decider.decide_prompts([prompts.ids(row) for row in rows])
    all_indices = indices.new_zeros(num_requests, *indices.shape[1:])
    all_weights = weights.new_zeros(num_requests, *weights.shape[1:])
    all_indices[list(rows)], all_weights[list(rows)] = indices, weights
    return decider.make_chooser(all_indices, all_weights, router.combine)


def _check_chooser(stack: ExpertStack, choice: Any) -> Chooser:
    if not callable(getattr(choice, "choose", None)):
        raise ValueError(
            "experts are given by name, as {name: weight}, as {'task': name}, as a router, 'auto' or None "
            f"for each request, found {quote(choice)}"
        )
    # A router chooses by places in the stacks, which belong to other experts after one was removed.
    if isinstance(choice, Router) and choice.stack is not stack:
        raise ValueError(
            f"router {choice.name!r} was built for other experts than this model has now: build it again "
            "with model.router(…) after experts are added or removed, or the model is moved"
        )
    chooser: Chooser = choice
    return chooser


def _plan(stack: ExpertStack, decided: Mapping[int, Decided], num_requests: int, combine: str) -> Chooser:
    """Make a plan for all requests; the weights of undecided requests are 0."""
    top_k = max(1, *(len(own.places) for own in decided.values()))
    indices = torch.zeros(num_requests, top_k, dtype=torch.int64)
    weights = torch.zeros(num_requests, top_k)
    general = torch.zeros(num_requests, dtype=torch.bool)
    for row, (places, shares, with_general) in decided.items():
        general[row] = with_general
        indices[row, : len(places)] = torch.tensor(places, dtype=torch.int64)
        weights[row, : len(shares)] = torch.tensor(shares)
    return stack.plan(indices, weights, combine, general)
