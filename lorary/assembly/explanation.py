"""What routers did with a text: which experts each token used at each layer.

L routed layers, T tokens, E experts, K experts kept per token.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lorary.models import ExpertStack
from lorary.models.per_thread import in_this_thread


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


@contextmanager
def record_routing(stack: ExpertStack, num_experts: int) -> Iterator[dict[str, Tensor]]:
    """Within this context, note the routing weights of each layer's last call in this thread.

    Args:
        stack: experts on a model, with routers.
        num_experts: E.

    Yields:
        Module path -> ``[T, E]``, filled when the model runs.
    """
    seen: dict[str, Tensor] = {}
    handles = [
        layer.router.register_forward_hook(_note_into(seen, path, num_experts))
        for path, layer in stack.layers.items()
        if layer.router is not None
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _note_into(
    seen: dict[str, Tensor], path: str, num_experts: int
) -> Callable[[nn.Module, object, tuple[Tensor, Tensor]], None]:
    def note(router: nn.Module, inputs: object, output: tuple[Tensor, Tensor]) -> None:
        indices, weights = output
        spread = torch.zeros(len(indices), num_experts, device=weights.device)  # [T, E]
        seen[path] = spread.scatter_add(1, indices, weights.float()).cpu()

    return in_this_thread(note)


def build_explanation(tokens: list[str], experts: tuple[str, ...], seen: Mapping[str, Tensor]) -> Explanation:
    """Put recorded weights together."""
    return Explanation(tuple(tokens), experts, tuple(seen), torch.stack(list(seen.values())))
