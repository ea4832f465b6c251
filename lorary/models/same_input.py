"""Finding layers of a model that receive the same input, such as q, k and v."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lorary.models.architecture import reading_inputs
from lorary.models.expert_stack import ExpertStack
from lorary.models.per_thread import in_this_thread

_Place = tuple[int, torch.Size, tuple[int, ...]]
"""Address, shape and strides of a tensor."""


@torch.no_grad()
def group_same_inputs(stack: ExpertStack) -> list[tuple[str, ...]]:
    """Find layers with experts that receive the same input.

    The base model runs two tokens; layers that receive the same tensor form a group. Module names are not
    used.

    Args:
        stack: the experts on the model.

    Returns:
        Module paths of each group, in the order in which they run; a group may have one layer.
    """
    seen: list[tuple[str, Tensor]] = []
    handles = [
        layer.register_forward_pre_hook(_note_into(seen, path)) for path, layer in stack.layers.items()
    ]
    ids = torch.tensor([[0, 1]], device=stack.model.device)
    try:
        with stack.assign([None]):
            stack.model(**reading_inputs(stack.model, {"input_ids": ids, "use_cache": False}))
    finally:
        for handle in handles:
            handle.remove()
    # `seen` keeps all inputs alive, so different inputs have different addresses.
    groups: dict[_Place, dict[str, None]] = {}
    for path, x in seen:
        groups.setdefault((x.data_ptr(), x.shape, x.stride()), {})[path] = None
    grouped = [tuple(group) for group in groups.values()]
    not_called = set(stack.layers).difference(*grouped)
    return grouped + [(path,) for path in stack.layers if path in not_called]


def _note_into(seen: list[tuple[str, Tensor]], path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append((path, inputs[0]))

    return in_this_thread(note)
