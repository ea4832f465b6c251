"""One prototype for layers that receive the same input, such as q, k and v."""

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import torch

from lorary.facts.fact import Context, Fact, Source
from lorary.facts.prototypes import pack_prototypes, unpack_prototypes
from lorary.facts.soundness import Artifact
from lorary.models.same_input import group_same_inputs
from lorary.transforms.tied import tied_prototypes


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    chosen = torch.tensor([context.stack.index(name) for name in names])
    found = {}
    for group in group_same_inputs(context.stack):
        layers = [context.stack.layers[path] for path in group]
        where = chosen.to(layers[0].a.device)
        rows, gains = tied_prototypes([(layer.a[where], layer.b[where]) for layer in layers])
        found.update(dict.fromkeys(group, (rows.cpu(), gains.cpu())))
    return pack_prototypes(found, names)


def _identify(context: Context) -> dict[str, Any]:
    # A further layer may join a group of layers with the same input, which changes the group's prototype.
    return {"layers": sha256("\n".join(sorted(context.stack.layers)).encode()).hexdigest()[:16]}


TIED_PROTOTYPES = Fact(
    name="tied_prototypes",
    source=Source.EXPERTS,
    compute=_compute,
    shapes={"tied_prototypes": "EI", "tied_gains": "E"},
    identify=_identify,
    unpack=partial(unpack_prototypes, prefix="tied_"),
)
