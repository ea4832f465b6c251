"""The input of the first layer that a model calls: embeddings and positions, with little rounding yet.

B rows, L row length, I layer input.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.models.expert_linear import ExpertLinear
from lorary.models.layers import is_base_layer
from lorary.models.per_thread import in_this_thread


@contextmanager
def capture_first_inputs(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Within this context, collect the input ``[…, I]`` of the first linear layer that runs in this thread.

    The list stays empty if the model calls no linear layer.

    Args:
        model: any model, with experts or without.
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not found and inputs and isinstance(inputs[0], Tensor):
            found.append(inputs[0].detach().float())

    layers = [
        module for module in model.modules() if isinstance(module, ExpertLinear) or is_base_layer(module)
    ]
    handles = [layer.register_forward_pre_hook(in_this_thread(keep)) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def select_cells(inputs: list[Tensor], cells: Tensor, num_cells: int) -> Tensor | None:
    """Select the rows of some cells from captured inputs, ``[N, I]``.

    Args:
        inputs: as captured.
        cells: indices among all B×L, ``[N]``.
        num_cells: B×L.

    Returns:
        None if the first layer did not read one row per cell.
    """
    if not inputs or inputs[0].dim() < 2 or inputs[0].shape[:-1].numel() != num_cells:
        return None
    return inputs[0].flatten(0, -2)[cells]
