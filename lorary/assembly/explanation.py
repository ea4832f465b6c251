"""The routing of a text: the experts that each token used at each layer.

L routed layers, T tokens, E experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lorary.assembly.notebook import describe_shares, draw_explanation
from lorary.files import say_count


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The routing of one text."""

    tokens: tuple[str, ...]
    """The tokens as texts, T."""
    experts: tuple[str, ...]
    """Names of the experts, E; the last may be a general expert that the router falls back on."""
    layers: tuple[str, ...]
    """Module paths of the routed layers, L, in the model's order."""
    weights: Tensor
    """Routing weights, ``[L, T, E]``, float32, on the CPU. The weights of a token at a layer sum to 1, to
    less if the router gives a share to the base model, or to more with some routers (see ``calibrated``)."""
    scores: Tensor | None = None
    """The experts' scores ``[E]``, float32, on the CPU, of a request router; None for other
    routers."""

    def __repr__(self) -> str:
        return f"<Explanation of {say_count(len(self.tokens), 'token')}: {describe_shares(self)}>"

    def _repr_html_(self) -> str:
        return draw_explanation(self)

    def only(self, names: Sequence[str]) -> "Explanation":
        """Return the routing of some of the experts; the shares of the others count for the base model."""
        places = [self.experts.index(name) for name in names]
        return replace(self, experts=tuple(names), weights=self.shares()[..., places])

    def shares(self) -> Tensor:
        """Return the weights as shares, ``[L, T, E]``: a sum above 1 is normalised to 1."""
        return self.weights / self.weights.sum(-1, keepdim=True).clamp_min(1)

    def shares_per_token(self) -> Tensor:
        """Return each token's share per expert, averaged over layers, ``[T, E]``."""
        return self.shares().mean(0)

    def shares_per_layer(self) -> Tensor:
        """Return each layer's share per expert, averaged over tokens, ``[L, E]``."""
        return self.shares().mean(1)
