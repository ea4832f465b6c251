"""The prototypes of the experts on one model: each expert's are computed once, when first asked for.

E experts that a router may choose, N of them in question, I layer input.
"""

from collections.abc import Callable, Mapping

import torch

from lorary.experts import Expert
from lorary.facts.prototypes import find_prototypes
from lorary.facts.soundness import CarriedExperts
from lorary.models import ExpertStack, group_same_inputs
from lorary.routing.named import LayerPrototypes
from lorary.transforms import library_prototypes, tied_prototypes

Compute = Callable[[int], Mapping[str, LayerPrototypes]]
"""The place of the first expert in question -> module path -> prototypes ``[N, I]`` and gains ``[N]``."""


class PrototypeRows:
    """Prototypes and gains of every layer, a row per expert.

    Args:
        stack: the experts on the model.
        experts: those that a router may choose, first in the stack. The artifacts of a ``Library`` are used.
    """

    def __init__(self, stack: ExpertStack, experts: Mapping[str, Expert]):
        self.carried = stack, stack.names[: len(experts)]
        self._experts = experts
        self._added: dict[str, Expert] = {}
        self._plain: dict[str, LayerPrototypes] = {}
        self._tied: dict[str, LayerPrototypes] = {}

    @property
    def stack(self) -> ExpertStack:
        """The experts on the model."""
        return self.carried[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Those that a router may choose."""
        return self.carried[1]

    def expert(self, name: str) -> Expert:
        """Give one of the experts as it was loaded or added."""
        return self._added.get(name) or self._experts[name]

    def plain(self) -> dict[str, LayerPrototypes]:
        """Give every layer's own prototypes ``[E, I]`` and gains ``[E]``."""
        return self._complete(self._plain, self._compute_plain)

    def tied(self) -> dict[str, LayerPrototypes]:
        """Give the same for layers that read one input, taken as one."""
        return self._complete(self._tied, self._compute_tied)

    def add(self, stack: ExpertStack, expert: Expert) -> None:
        """Take note of one more expert, after the others that a router may choose."""
        if stack.layers.keys() != self.stack.layers.keys():
            # A new layer shares its input, and so its prototype, with others.
            self._tied = {}
        self.carried = stack, (*self.names, expert.name)
        self._added[expert.name] = expert

    def remove(self, stack: ExpertStack, name: str) -> None:
        """Forget an expert."""
        index = self.names.index(name)
        for known in (self._plain, self._tied):
            for path, pair in known.items():
                rows, gains = (torch.cat([part[:index], part[index + 1 :]]) for part in pair)
                known[path] = rows, gains
        self.carried = stack, (*self.names[:index], *self.names[index + 1 :])
        self._added.pop(name, None)

    def _complete(self, known: dict[str, LayerPrototypes], compute: Compute) -> dict[str, LayerPrototypes]:
        """Compute the rows of those experts alone that have none yet: the last ones."""
        count = len(next(iter(known.values()))[1]) if known else 0
        missing = len(self.names) - count
        if missing:
            new = compute(count)
            widths = {path: layer.a.shape[2] for path, layer in self.stack.layers.items()}
            known.update(_join(widths, (known, count), (new, missing)))
        return known

    def _compute_plain(self, first: int) -> Mapping[str, LayerPrototypes]:
        names = self.names[first:]
        added = {name: self._added[name] for name in names if name in self._added}
        stored = [name for name in names if name not in added]
        carried = CarriedExperts(self.stack)
        found = find_prototypes(self._experts, stored, known=carried) if stored else {}
        if not added:
            return found
        new = library_prototypes(added)
        widths = {path: rows.shape[1] for path, (rows, _) in (*found.items(), *new.items())}
        return _join(widths, (found, len(stored)), (new, len(added)))

    def _compute_tied(self, first: int) -> Mapping[str, LayerPrototypes]:
        found = {}
        chosen = slice(first, len(self.names))
        for group in group_same_inputs(self.stack):
            layers = [self.stack.layers[path] for path in group]
            rows, gains = tied_prototypes([(layer.a[chosen], layer.b[chosen]) for layer in layers])
            found.update(dict.fromkeys(group, (rows.cpu(), gains.cpu())))
        return found


def _join(
    widths: Mapping[str, int], *parts: tuple[Mapping[str, LayerPrototypes], int]
) -> dict[str, LayerPrototypes]:
    """Put parts with so many experts each one below the other; an expert without a layer scores 0 there."""
    joined = {}
    present = [(found, count) for found, count in parts if count]
    for path, width in widths.items():
        pairs = [
            found.get(path) or (torch.zeros(count, width), torch.zeros(count)) for found, count in present
        ]
        # A part alone is not copied: a library's prototypes are large.
        rows, gains = (torch.cat(own) if len(own) > 1 else own[0] for own in zip(*pairs, strict=True))
        joined[path] = rows, gains
    return joined
