"""Two facts and a router of somebody else's: what a stranger writes, in one file here instead of three."""

from dataclasses import dataclass

import torch

from lorary.facts import FACTS
from lorary.facts.fact import Fact, Source
from lorary.facts.rows import pack_rows
from lorary.routing import ROUTERS, Uses
from lorary.routing.mean_activation import MeanActivationRouter
from lorary.routing.named import TOKEN_ROUTERS, RouterKind


def compute_lengths(context, names):
    """How far each expert reads each input, to a power that the router says; of the experts alone."""
    lengths.calls.append(sorted(names))
    power = context.options["power"]
    rows = {
        path: torch.stack([layer.a[context.stack.index(name)].float().norm(dim=0) ** power for name in names])
        for path, layer in context.stack.layers.items()
    }
    return pack_rows(rows, names)


def compute_counts(context, names):
    """How many tokens of examples each expert has: of examples of tasks."""
    counts.calls.append(sorted(names))
    numbers = torch.tensor(
        [float(sum(len(example) for example in context.examples[name].train)) for name in names]
    )
    rows = {
        path: numbers[:, None].expand(-1, layer.a.shape[2]) + torch.arange(layer.a.shape[2])
        for path, layer in context.stack.layers.items()
    }
    return pack_rows(rows, names)


lengths, counts = compute_lengths, compute_counts
LENGTHS = Fact(
    name="lengths",
    source=Source.EXPERTS,
    compute=compute_lengths,
    algorithm="toy-lengths-1",
    identify=lambda context: {"power": context.options["power"], "layers": sorted(context.stack.layers)},
)
COUNTS = Fact(
    name="counts",
    source=Source.EXAMPLES,
    compute=compute_counts,
    algorithm="toy-counts-1",
    digest=lambda context, name: context.examples[name].digest,
)


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """How the toy chooses."""

    top_k: int = 2
    """How many experts each token keeps."""
    power: float = 1.0
    """Of the lengths."""

    @property
    def needs(self):
        """The facts that the router is built from."""
        return {"lengths": {"power": self.power}, "counts": {}}

    def check(self, names):
        """Refuse nothing."""


def build_toy(config, material):
    """Build one layer's router."""
    return MeanActivationRouter(material.take("counts") * material.take("lengths"), top_k=config.top_k)


def register(monkeypatch):
    """Put the toys into the tables."""
    lengths.calls, counts.calls = [], []
    for fact in (LENGTHS, COUNTS):
        monkeypatch.setitem(FACTS, fact.name, fact)
    kind = RouterKind(config=ToyConfig, build=build_toy, uses=Uses.EXAMPLES, needs_tasks=True)
    for table in (ROUTERS, TOKEN_ROUTERS):
        monkeypatch.setitem(table, "toy", kind)
