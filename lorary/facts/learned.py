"""What training changed of the experts' ``a``: the rows less the random ones that they began with.

After a short training most of ``a`` is still its random start, which reacts to all inputs alike. What was
added to it has the directions of the inputs that the expert was trained on.

E experts, R rank, I layer input.
"""

from collections.abc import Mapping, MutableMapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lorary.experts.random_start import draw_start
from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.soundness import Artifact, CarriedExperts
from lorary.models import ExpertStack

# Least cosine of an expert's ``a`` and its start, at every layer. That of another start is 0, ±1/√(RI).
SMALLEST_COSINE = 0.2


def subtract_starts(stack: ExpertStack, names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Subtract the random start of each expert from its ``a``.

    Args:
        stack: the experts on a model.
        names: some of them.

    Returns:
        Expert -> module path -> ``[R, I]`` with its own R, in the stack's dtype; nothing for an expert
        whose start is not known, because its card has no seed or another one, and for one whose ``a`` is
        still its start.
    """
    known = CarriedExperts(stack)
    return {name: _subtract_start(stack, name, known.find_shapes(name)) for name in names}


def _subtract_start(
    stack: ExpertStack, name: str, shapes: Mapping[str, tuple[int, int]]
) -> dict[str, Tensor]:
    seed, place = stack.start_seeds.get(name), stack.index(name)
    if seed is None:
        return {}
    in_order = {path: shapes[path] for path in stack.layers if path in shapes}
    learned = {}
    for path, drawn in draw_start(seed, in_order).items():
        a = stack.layers[path].a[place, : len(drawn)]
        if not _resembles(a, drawn):
            return {}
        learned[path] = (a.float() - drawn.to(a.device)).to(a.dtype)
    # The first step of a training changes b alone.
    return learned if any(bool(rows.any()) for rows in learned.values()) else {}


def find_own_seed(stack: ExpertStack, name: str) -> int | None:
    """Return the seed of an expert's random start; None if its card has no seed or another one.

    Only its first layer is compared.
    """
    seed, place = stack.start_seeds.get(name), stack.index(name)
    if seed is None:
        return None
    for path, layer in stack.layers.items():
        if rank := layer.list_ranks()[place]:
            start = draw_start(seed, {path: (rank, layer.a.shape[2])})[path]
            return seed if _resembles(layer.a[place, :rank], start) else None
    return None


def _resembles(a: Tensor, start: Tensor) -> bool:
    cosine = cosine_similarity(a.float().flatten(), start.to(a.device).flatten(), dim=0)
    return bool(cosine >= SMALLEST_COSINE)


def put_learned(a: Tensor, path: str, learned: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Return the experts' rows of a layer, with what was learned where that is known.

    Args:
        a: the whole rows, ``[E, R, I]``.
        path: the layer's module path.
        learned: for each expert, see ``subtract_starts``.

    Returns:
        ``[E, R, I]``; ``a`` itself if nothing is known.
    """
    if not any(path in own for own in learned):
        return a
    rows = a.clone()
    for row, own in enumerate(learned):
        if path in own:
            rows[row, : len(own[path])] = own[path]
    return rows


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    subtracts: bool = context.options["subtract_start"]
    return subtract_starts(context.stack, names) if subtracts else {name: {} for name in names}


def _unpack(context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
    found, has_start = {}, {}
    for path, layer in context.stack.layers.items():
        found[path] = put_learned(layer.a[: len(names)], path, artifacts)
        has_start[path] = torch.tensor([bool(own) for own in artifacts])
        for row, own in enumerate(artifacts):
            if path in own:
                # They are kept as views of the stacked rows, so that they are in memory once.
                assert isinstance(own, MutableMapping)
                own[path] = found[path][row, : len(own[path])]
    return {"learned": found, "has_start": has_start}


LEARNED = Fact(
    name="learned",
    source=Source.EXPERTS,
    compute=_compute,
    identify=lambda context: {"subtract_start": context.options["subtract_start"]},
    shapes={"learned": "ERI", "has_start": "E"},
    unpack=_unpack,
)
