"""What goes into each layer while the base model reads generic text.

I layer input, N tokens, E experts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.assembly.reading import read_alone
from lorary.assembly.requests import cut_passes, pad_prompts
from lorary.experts import Expert
from lorary.models import ExpertStack, capture_inputs, group_same_inputs
from lorary.models.capture import Receive
from lorary.routing import log_lengths
from lorary.routing.spectr import find_norm_roots
from lorary.transforms.stacks import stack_factors

# Numbers in the covariances that are gathered at once, 2 GiB in float64; more layers take another reading.
MAX_NUMBERS = 2**28


class InputMoments(NamedTuple):
    """Mean and covariance of a layer's inputs."""

    mean: Tensor
    """``[I]``, float64."""
    covariance: Tensor
    """``[I, I]``, float64."""


def measure_inputs(
    stack: ExpertStack,
    paths: Sequence[str],
    sequences: Sequence[Sequence[int]],
    *,
    tokens_per_pass: int = 2048,
    max_numbers: int = MAX_NUMBERS,
) -> Iterator[tuple[str, InputMoments]]:
    """Measure what goes into layers while the base model reads texts, the first token of each left out.

    Layers that read the same input are measured once, and only some layers at a time, so that memory stays
    bounded; the texts are read as often as that takes.

    Args:
        stack: the experts on the model; they take no part.
        paths: the layers in question.
        sequences: token ids of the texts, at least two in each.
        tokens_per_pass: most tokens in one forward pass; a longer text runs alone.
        max_numbers: most numbers in the covariances that are gathered at once, but one layer's always.

    Yields:
        Each path with its moments. Let go of them before taking the next.
    """
    wanted = set(paths)
    groups = [tuple(path for path in group if path in wanted) for group in group_same_inputs(stack)]
    widths = {path: stack.layers[path].a.shape[2] for path in paths}
    for part in _cut_groups([group for group in groups if group], widths, max_numbers):
        moments = _measure_part(stack, [group[0] for group in part], sequences, tokens_per_pass)
        for group in part:
            found = moments.pop(group[0])
            yield from ((path, found) for path in group)


def measure_log_lengths(
    stack: ExpertStack,
    experts: Mapping[str, Expert],
    sequences: Sequence[Sequence[int]],
    *,
    tokens_per_pass: int = 2048,
) -> dict[str, Tensor]:
    """Average how strongly experts answer the tokens of texts, the first token of each left out.

    Args:
        stack: the experts on the model; they take no part.
        experts: those in question; every module they change is a layer of the stack.
        sequences: token ids of the texts, at least two in each.
        tokens_per_pass: most tokens in one forward pass; a longer text runs alone.

    Returns:
        Module path -> mean of ``log |b_e a_e x|``, ``[E]``, float32, on the CPU; without meaning for an
        expert that does not change that layer.
    """
    factors, sums = {}, {}
    for path in sorted({path for expert in experts.values() for path in expert.factors}):
        layer = stack.layers[path]
        a, b = (part.to(layer.a.device) for part in stack_factors(experts, path, layer.a.dtype))
        factors[path] = a, find_norm_roots(b)
        sums[path] = torch.zeros(len(a), dtype=torch.float64, device=a.device)

    def add(path: str, x: Tensor) -> None:
        if path in factors:
            sums[path] += log_lengths(x, *factors[path]).double().sum(0)

    count = _read_all(stack, sequences, add, tokens_per_pass)
    return {path: (total.cpu() / count).float() for path, total in sums.items()}


def _measure_part(
    stack: ExpertStack, paths: Sequence[str], sequences: Sequence[Sequence[int]], tokens_per_pass: int
) -> dict[str, InputMoments]:
    sums: dict[str, Tensor] = {}
    products: dict[str, Tensor] = {}
    for path in paths:
        layer = stack.layers[path]
        width = layer.a.shape[2]
        sums[path] = torch.zeros(width, dtype=torch.float64, device=layer.a.device)
        products[path] = torch.zeros(width, width, dtype=torch.float64, device=layer.a.device)

    def add(path: str, x: Tensor) -> None:
        if path in sums:
            wide = x.double()
            sums[path] += wide.sum(0)
            products[path].addmm_(wide.T, wide)

    count = _read_all(stack, sequences, add, tokens_per_pass)
    found = {}
    for path in paths:
        mean = sums[path] / count
        found[path] = InputMoments(mean, products.pop(path).div_(count).addr_(mean, mean, alpha=-1))
    return found


@torch.no_grad()
def _read_all(
    stack: ExpertStack, sequences: Sequence[Sequence[int]], receive: Receive, tokens_per_pass: int
) -> int:
    """Let the base model read texts, and hand on what goes into its layers; returns the number of tokens."""
    for members in cut_passes([len(ids) for ids in sequences], tokens_per_pass):
        requests = pad_prompts([sequences[index] for index in members], stack.model.device)
        mask = requests.inputs["attention_mask"].bool()
        mask[:, 0] = False
        with capture_inputs(stack, mask, receive):
            read_alone(stack, requests)
    return sum(len(ids) - 1 for ids in sequences)


def _cut_groups(
    groups: Sequence[tuple[str, ...]], widths: Mapping[str, int], max_numbers: int
) -> list[list[tuple[str, ...]]]:
    parts: list[list[tuple[str, ...]]] = []
    room = 0
    for group in groups:
        needed = widths[group[0]] ** 2
        if needed > room:
            parts.append([])
            room = max_numbers
        parts[-1].append(group)
        room -= needed
    return parts
