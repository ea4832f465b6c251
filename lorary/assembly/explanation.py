"""What routers did with a text: which experts each token used at each layer.

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
    """The text as the tokenizer cuts it, T pieces."""
    experts: tuple[str, ...]
    """Names of the experts, E."""
    layers: tuple[str, ...]
    """Module paths of the routed layers, L, in the model's order."""
    weights: Tensor
    """Routing weights, ``[L, T, E]``, float32, on the CPU; the rows of a layer's token sum to 1, to less
    where the router leaves a share to the base model, or to more where it says so."""

    def shares(self) -> Tensor:
        """Give the weights as parts of a whole, ``[L, T, E]``: a sum above 1 is divided out."""
        return self.weights / self.weights.sum(-1, keepdim=True).clamp_min(1)

    def shares_per_token(self) -> Tensor:
        """Give each token's share per expert, averaged over layers, ``[T, E]``."""
        return self.shares().mean(0)

    def shares_per_layer(self) -> Tensor:
        """Give each layer's share per expert, averaged over tokens, ``[L, E]``."""
        return self.shares().mean(1)


class Recorder:
    """A chooser that notes what another one chooses at each layer.

    Args:
        chooser: who chooses.
        num_experts: E.
    """

    def __init__(self, chooser: Chooser, num_experts: int):
        self.seen: dict[str, Tensor] = {}
        """Module path -> routing weights of the layer's last call, ``[T, E]``, float32, on the CPU."""
        self._chooser = chooser
        self._num_experts = num_experts

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Choose as the other; see ``Chooser``."""
        choice = self._chooser.choose(path, x, rows)
        if choice is not None:
            spread = torch.zeros(len(x), self._num_experts, device=x.device)  # [T, E]
            self.seen[path] = spread.scatter_add(1, choice.indices, choice.weights.float()).cpu()
        return choice


def build_explanation(tokens: list[str], experts: tuple[str, ...], seen: Mapping[str, Tensor]) -> Explanation:
    """Put recorded weights together."""
    return Explanation(tuple(tokens), experts, tuple(seen), torch.stack(list(seen.values())))
