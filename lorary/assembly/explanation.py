"""The routing of a text: the experts that each token used at each layer.

L routed layers, T tokens, E experts, K experts kept per token.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.routing import Choice, Chooser


@dataclass(frozen=True, eq=False)
class Explanation:
    """The routing of one text."""

    tokens: tuple[str, ...]
    """The tokens as texts, T."""
    experts: tuple[str, ...]
    """Names of the experts, E."""
    layers: tuple[str, ...]
    """Module paths of the routed layers, L, in the model's order."""
    weights: Tensor
    """Routing weights, ``[L, T, E]``, float32, on the CPU. The weights of a token at a layer sum to 1, to
    less if the router gives a share to the base model, or to more for some routers (see ``calibrated``)."""

    def shares(self) -> Tensor:
        """Return the weights as shares, ``[L, T, E]``: a sum above 1 is normalised to 1."""
        return self.weights / self.weights.sum(-1, keepdim=True).clamp_min(1)

    def shares_per_token(self) -> Tensor:
        """Return each token's share per expert, averaged over layers, ``[T, E]``."""
        return self.shares().mean(0)

    def shares_per_layer(self) -> Tensor:
        """Return each layer's share per expert, averaged over tokens, ``[L, E]``."""
        return self.shares().mean(1)


class Recorder:
    """A chooser that records the choices of another chooser at each layer.

    Args:
        chooser: the other chooser.
        num_experts: E.
    """

    def __init__(self, chooser: Chooser, num_experts: int):
        self.seen: dict[str, Tensor] = {}
        """Module path -> routing weights of the layer's last call, ``[T, E]``, float32, on the CPU."""
        self._chooser = chooser
        self._num_experts = num_experts

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Return and record the other chooser's choice; see ``Chooser``."""
        choice = self._chooser.choose(path, x, rows)
        if choice is not None:
            spread = torch.zeros(len(x), self._num_experts, device=x.device)  # [T, E]
            self.seen[path] = spread.scatter_add(1, choice.indices, choice.weights.float()).cpu()
        return choice


def build_explanation(tokens: list[str], experts: tuple[str, ...], seen: Mapping[str, Tensor]) -> Explanation:
    """Build an explanation from recorded weights."""
    return Explanation(tuple(tokens), experts, tuple(seen), torch.stack(list(seen.values())))
