"""Components: how each expert's rows of ``a`` react to prompts of its own task, as a mean and a deviation.

N experts of a call, R rank, I layer input.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from lorary.facts.examples import choose_examples, hash_tokens
from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.reading import read_alone
from lorary.facts.requests import cut_passes, pad_prompts
from lorary.facts.rows import pack_rows, unpack_rows
from lorary.facts.soundness import Artifact, has_form, read_any_layout
from lorary.library.derive import IsSound
from lorary.models import ExpertStack
from lorary.models.capture import capture_inputs
from lorary.models.expert_linear import ExpertLinear
from lorary.routing.calibrated import compute_readings

ALGORITHM = "component-readings-1"

Prompts = Sequence[Sequence[int]]
"""Token ids, a list per prompt."""


def _read_prompts(context: Context, name: str) -> list[tuple[int, ...]]:
    return [example.prompt_ids for example in choose_examples(context, name)]


def _identify(context: Context) -> dict[str, Any]:
    # An artifact has numbers for each layer with experts; an expert added later may change further layers.
    return {"layers": sha256("\n".join(sorted(context.stack.layers)).encode()).hexdigest()[:16]}


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    prompts = {name: _read_prompts(context, name) for name in names}
    tokens_per_pass = context.options.get("tokens_per_pass", 2048)
    return pack_rows(measure_components(context.stack, prompts, tokens_per_pass=tokens_per_pass), names)


@torch.no_grad()
def measure_components(
    stack: ExpertStack, prompts: Mapping[str, Prompts], *, tokens_per_pass: int = 2048
) -> dict[str, Tensor]:
    """Measure ``a x`` of each expert over the tokens of prompts of its own task.

    The base model reads the prompts without experts, as it does when a router decides. A prompt's first token
    is left out, unless it is the only one.

    Args:
        stack: the experts on the model.
        prompts: expert -> prompts of its own task, of at least one token each.
        tokens_per_pass: maximum number of tokens per forward pass; a longer prompt runs alone.

    Returns:
        Module path -> means and standard deviations, joined to ``[N, 2 R]``, float32, on the CPU; zeros for
        layers that read no prompt.

    Source: HiLoRA, arXiv:2510.12266.
    """
    names = list(prompts)
    flat = [(row, ids) for row, name in enumerate(names) for ids in prompts[name]]
    sums = {
        path: torch.zeros(2, len(names), layer.a.shape[1], dtype=torch.float64, device=layer.a.device)
        for path, layer in stack.layers.items()
    }
    places = [stack.index(name) for name in names]
    counts = torch.zeros(len(names), dtype=torch.float64)
    for members in cut_passes([len(ids) for _, ids in flat], tokens_per_pass):
        requests = pad_prompts([flat[index][1] for index in members], stack.model.device)
        mask = requests.inputs["attention_mask"].bool()
        mask[:, 0] &= mask.sum(1) == 1
        own = torch.tensor([flat[index][0] for index in members]).repeat_interleave(mask.sum(1).cpu())
        counts += torch.bincount(own, minlength=len(names))

        def add(path: str, x: Tensor, own: Tensor = own) -> None:
            for row in own.unique().tolist():
                tokens = x[(own == row).to(x.device)]
                readings = compute_readings(tokens, stack.layers[path].a[places[row]][None])[:, 0].double()
                sums[path][:, row] += torch.stack([readings.sum(0), readings.square().sum(0)])

        with capture_inputs(stack, mask, add):
            read_alone(stack, requests)
    return {path: _summarise(total.cpu() / counts[:, None]) for path, total in sums.items()}


def _summarise(moments: Tensor) -> Tensor:
    """Turn means of readings and of their squares, ``[2, N, R]``, into means and deviations, ``[N, 2 R]``."""
    mean, square = moments
    return torch.cat([mean, (square - mean.square()).clamp_min(0).sqrt()], 1).float()


def _unpack(context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
    """Stack the artifacts; they may have been computed on a model whose stacks have another rank."""
    rows = [unpack_rows(artifact) for artifact in artifacts]
    found = {}
    for path, layer in context.stack.layers.items():
        rank = layer.a.shape[1]
        found[path] = torch.zeros(len(rows), 2, rank)
        for index, own in enumerate(rows):
            if path in own:
                both = own[path].unflatten(0, (2, -1))
                known = min(rank, both.shape[1])
                found[path][index, :, :known] = both[:, :known]
    return {"components": {path: both.flatten(1) for path, both in found.items()}}


def _check(context: Context) -> IsSound:
    ranks = {path: layer.list_ranks() for path, layer in context.stack.layers.items()}

    def is_sound(name: str, artifact: Artifact) -> bool:
        layout = read_any_layout(artifact)
        place = context.stack.index(name)
        return (
            layout is not None
            and layout.keys() <= ranks.keys()
            and all(size % 2 == 0 and size // 2 >= ranks[path][place] for path, size in layout.items())
            and has_form(artifact, {"rows": (sum(layout.values()),)})
        )

    return is_sound


def _width(layer: ExpertLinear) -> int:
    return 2 * layer.a.shape[1]


COMPONENTS = Fact(
    name="components",
    source=Source.EXAMPLES,
    compute=_compute,
    shapes={"components": "EC"},
    algorithm=ALGORITHM,
    identify=_identify,
    digest=lambda context, name: hash_tokens(_read_prompts(context, name)),
    check=_check,
    unpack=_unpack,
    width=_width,
)
