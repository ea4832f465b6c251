"""One prototype for layers that receive the same input, such as q, k and v."""

from functools import partial
from hashlib import sha256
from typing import Any

from lorary.facts.fact import Context, Fact, Source
from lorary.facts.learned_prototypes import compute_grouped
from lorary.facts.prototypes import unpack_prototypes
from lorary.models.same_input import group_same_inputs


def _identify(context: Context) -> dict[str, Any]:
    # A further layer may join a group of layers with the same input, which changes the group's prototype.
    layers = sha256("\n".join(sorted(context.stack.layers)).encode()).hexdigest()[:16]
    return {"layers": layers, "subtract_start": context.options.get("subtract_start", False)}


TIED_PROTOTYPES = Fact(
    name="tied_prototypes",
    source=Source.EXPERTS,
    compute=lambda context, names: compute_grouped(context, names, group_same_inputs(context.stack)),
    shapes={"tied_prototypes": "EI", "tied_gains": "E"},
    identify=_identify,
    unpack=partial(unpack_prototypes, prefix="tied_"),
)
