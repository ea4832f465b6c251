"""Arrow prototypes of what training changed of the experts' ``a``, without the random start.

E experts, N experts of a batch, R rank, I layer input.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from lorary.facts.fact import Context, Fact, Source
from lorary.facts.learned import put_learned, subtract_starts
from lorary.facts.prototypes import pack_prototypes, unpack_prototypes
from lorary.facts.soundness import Artifact
from lorary.transforms.tied import tied_prototypes


def compute_grouped(
    context: Context, names: Sequence[str], groups: Sequence[Sequence[str]]
) -> Mapping[str, Artifact]:
    """Compute a prototype of each expert for each group of layers with the same input.

    Args:
        context: its option ``subtract_start`` says whether random starts that are known are subtracted.
        names: experts on the model.
        groups: module paths; every layer with experts is in one group.

    Returns:
        Expert -> artifact, see ``pack_prototypes``.
    """
    stack = context.stack
    chosen = torch.tensor([stack.index(name) for name in names])
    learned = list(subtract_starts(stack, names if context.options.get("subtract_start") else []).values())
    found = {}
    for group in groups:
        layers = [(path, stack.layers[path]) for path in group]
        where = chosen.to(layers[0][1].a.device)
        pairs = [(put_learned(layer.a[where], path, learned), layer.b[where]) for path, layer in layers]
        rows, gains = tied_prototypes(pairs)
        found.update(dict.fromkeys(group, (rows.cpu(), gains.cpu())))
    return pack_prototypes(found, names)


LEARNED_PROTOTYPES = Fact(
    name="learned_prototypes",
    source=Source.EXPERTS,
    compute=lambda context, names: compute_grouped(context, names, [[path] for path in context.stack.layers]),
    identify=lambda context: {"subtract_start": context.options["subtract_start"]},
    shapes={"learned_prototypes": "EI", "learned_gains": "E"},
    unpack=partial(unpack_prototypes, prefix="learned_"),
)
