"""The experts' cards, as text that the base model can read."""

from collections.abc import Mapping, Sequence

from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.soundness import Artifact
from lorary.routing.card import Card


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    found = {}
    for name in names:
        card = context.experts[name].card
        found[name] = {"card_texts": Card(name, card.description, card.tasks).dump()}
    return found


def _unpack(context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
    pairs = zip(names, artifacts, strict=True)
    return {"card_texts": {name: artifact["card_texts"] for name, artifact in pairs}}


CARDS = Fact(
    name="cards",
    place="output",
    source=Source.EXPERTS,
    compute=_compute,
    shapes={"card_texts": "N"},
    unpack=_unpack,
)
