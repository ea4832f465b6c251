"""Gradient checkpointing of a model with experts: decoder layers are run again on the way back."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from lorary.models.expert_stack import ExpertStack
from lorary.models.per_thread import PerThread
from lorary.models.routing_context import Call


@contextmanager
def checkpoint_layers(stack: ExpertStack) -> Iterator[None]:
    """Within this context the model keeps only what goes into its decoder layers, not what they compute.

    Backward may come after the plan of the forward pass has ended: each layer is run again under the plan it
    had, in whichever thread. Dropout stays off, as it is elsewhere in training.

    Args:
        stack: the experts on the model.

    Raises:
        ValueError: if the model has no layers that ``transformers`` can checkpoint.
    """
    layers = [module for module in stack.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"{type(stack.model).__name__} has no layers that can be checkpointed: "
            "leave gradient_checkpointing out"
        )
    run_again = partial(checkpoint, use_reentrant=False, context_fn=partial(_contexts, stack.context.own))
    were_training = [layer.training for layer in layers]
    for layer in layers:
        layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, run_again
        layer.training = True  # of this module alone: it asks for it, its parts would drop out
    try:
        yield
    finally:
        for layer, was_training in zip(layers, were_training, strict=True):
            layer.gradient_checkpointing, layer.training = False, was_training
            del layer._gradient_checkpointing_func


_Contexts = tuple[AbstractContextManager[None], AbstractContextManager[None]]


def _contexts(own: PerThread[Call | None]) -> _Contexts:
    """Give the contexts of the way forward, and of running a layer again, in a thread of autograd's maybe."""
    return nullcontext(), own.set_to(own.cell.value)
