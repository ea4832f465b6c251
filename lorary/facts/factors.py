"""The experts' own factors, as views of the model's stacks."""

from collections.abc import Sequence

from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.soundness import Artifact


def _unpack(context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
    """Return views of the stacks, whose first experts are the named ones: nothing is copied."""
    layers = context.stack.layers
    return {
        "a": {path: layer.a[: len(names)] for path, layer in layers.items()},
        "b": {path: layer.b[: len(names)] for path, layer in layers.items()},
    }


FACTORS = Fact(
    name="factors",
    source=Source.EXPERTS,
    compute=lambda context, names: {name: {} for name in names},
    shapes={"a": "ERI", "b": "EOR"},
    unpack=_unpack,
)
