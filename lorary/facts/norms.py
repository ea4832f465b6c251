"""Norms of each expert's output on generic tokens at each layer, as a mean and a deviation.

N experts of a call, I layer input.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorary.experts.stacked_parameters import is_sub_layer
from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.generic_text import GenericRequests
from lorary.facts.reading import read_alone
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.facts.rows import unpack_rows, write_layout
from lorary.facts.soundness import Artifact, CarriedExperts, KnownExperts, has_form, read_any_layout
from lorary.models import ExpertStack
from lorary.models.capture import capture_inputs
from lorary.routing.configs.checks import InputNorm
from lorary.routing.spectr import compute_norm_roots, spectr_scores

ALGORITHM = "output-norms-1"
TENSORS = ("norm_means", "norm_deviations")


def _make_requests(context: Context) -> GenericRequests:
    return GenericRequests(context.base, context.stack, context.options["generic"])


def _identify(context: Context) -> dict[str, Any]:
    return {**_make_requests(context).identity, "input_norm": context.options["input_norm"]}


def _compute(context: Context, names: Sequence[str]) -> dict[str, Artifact]:
    found = measure_norms(
        context.stack,
        names,
        _make_requests(context).sequences(context.on_work),
        context.options["input_norm"],
        on_progress=context.on_progress,
    )
    known = CarriedExperts(context.stack)
    return {
        name: _pack({path: found[path][index] for path in _list_layers(known, name)})
        for index, name in enumerate(names)
    }


def _pack(levels: Mapping[str, Tensor]) -> Artifact:
    """Join the mean and deviation of each layer, ``[2]``; an expert of sub-layers only has none."""
    rows = torch.cat([torch.zeros(0), *levels.values()])
    return {"rows": rows, "layout": write_layout(dict.fromkeys(levels, 2))}


@torch.no_grad()
def measure_norms(
    stack: ExpertStack,
    names: Sequence[str],
    sequences: Sequence[Sequence[int]],
    input_norm: InputNorm = "none",
    *,
    tokens_per_pass: int = 2048,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Measure the norms of experts' outputs over the tokens of some texts, without each text's first token.

    Args:
        stack: the experts on the model; they are switched off during these passes.
        names: N experts on the model.
        sequences: token ids of the texts, at least two in each.
        input_norm: what each input is divided by, see `spectr_scores`.
        tokens_per_pass: maximum number of tokens per forward pass; a longer text runs alone.
        on_progress: called with the numbers of passes done and of all passes.

    Returns:
        Module path -> mean and standard deviation of each expert's norms, ``[N, 2]``, float32, on the CPU;
        zeros for layers that read no token of the texts.
    """
    places = torch.tensor([stack.index(name) for name in names])
    a, roots, sums = {}, {}, {}
    for path, layer in stack.layers.items():
        where = places.to(layer.a.device)
        a[path], roots[path] = layer.a[where], compute_norm_roots(layer.b[where])
        sums[path] = torch.zeros(2, len(names), dtype=torch.float64, device=layer.a.device)

    def add(path: str, x: Tensor) -> None:
        lengths = spectr_scores(x, a[path], roots[path], input_norm).double()
        sums[path] += torch.stack([lengths.sum(0), lengths.square().sum(0)])

    passes = cut_passes([len(ids) for ids in sequences], tokens_per_pass)
    for done, members in enumerate(passes, 1):
        requests = pad_prompts([sequences[index] for index in members], stack.model.device)
        mask = requests.inputs["attention_mask"].bool()
        # The first token's input is the same in every text, and far larger than the others.
        mask[:, 0] = False
        with capture_inputs(stack, mask, add):
            read_alone(stack, requests)
        if on_progress is not None:
            on_progress(done, len(passes))
    count = sum(len(ids) - 1 for ids in sequences)
    return {path: _summarise(total / count) for path, total in sums.items()}


def _summarise(moments: Tensor) -> Tensor:
    """Turn means of norms and of their squares, ``[2, N]``, into means and deviations, ``[N, 2]``."""
    mean, square = moments
    return torch.stack([mean, (square - mean.square()).clamp_min(0).sqrt()], 1).float().cpu()


def _list_layers(known: KnownExperts, name: str) -> list[str]:
    """List the layers that an expert changes and that see every token, in one order for all callers."""
    return sorted(path for path in known.find_shapes(name) if not is_sub_layer(path))


def _unpack(context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
    rows = [unpack_rows(artifact) if artifact["rows"].numel() else {} for artifact in artifacts]
    found: dict[str, dict[str, Tensor]] = {tensor: {} for tensor in TENSORS}
    for path in context.stack.layers:
        levels = torch.stack([own.get(path, torch.zeros(2)) for own in rows])  # [N, 2]
        for tensor, level in zip(TENSORS, levels.unbind(1), strict=True):
            found[tensor][path] = level
    return found


def _is_sound(known: KnownExperts, name: str, artifact: Mapping[str, Tensor]) -> bool:
    paths = _list_layers(known, name)
    layout = dict.fromkeys(paths, 2)
    return (
        has_form(artifact, {"rows": (2 * len(paths),)})
        and read_any_layout(artifact) == layout
        and bool((artifact["rows"] >= 0).all())
    )


NORMS = Fact(
    name="norms",
    source=Source.GENERIC,
    compute=_compute,
    shapes=dict.fromkeys(TENSORS, "E"),
    algorithm=ALGORITHM,
    is_cached=True,
    work="measuring the outputs of {experts} on generic requests, once: the result is stored",
    identify=_identify,
    check=lambda context: partial(_is_sound, CarriedExperts(context.stack)),
    unpack=_unpack,
)
