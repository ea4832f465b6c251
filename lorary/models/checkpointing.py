"""Gradient checkpointing of a model with experts: decoder layers are run again during backward."""

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
    """Within this context only the inputs of decoder layers are kept for backward, not their activations.

    Each layer is run again with the experts of its forward pass, even if backward runs in another thread or
    after the forward pass's context has ended. Dropout stays off, as elsewhere in training.

    Args:
        stack: the experts on the model.

    Raises:
        ValueError: if the model has no layers that ``transformers`` can checkpoint.
    """
    layers = [module for module in stack.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"{type(stack.model).__name__} has no layers that support gradient checkpointing: "
            "leave out gradient_checkpointing"
        )
    run_again = partial(checkpoint, use_reentrant=False, context_fn=partial(_contexts, stack.context.own))
    were_training = [layer.training for layer in layers]
    for layer in layers:
        layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, run_again
        # transformers checkpoints a layer only in training mode. Its submodules stay in evaluation
        # mode, so dropout stays off.
        layer.training = True
    try:
        yield
    finally:
        for layer, was_training in zip(layers, were_training, strict=True):
            layer.gradient_checkpointing, layer.training = False, was_training
            del layer._gradient_checkpointing_func


_Contexts = tuple[AbstractContextManager[None], AbstractContextManager[None]]


def _contexts(own: PerThread[Call | None]) -> _Contexts:
    """Return the contexts of a layer's forward pass and of its second run (maybe in autograd's thread)."""
    return nullcontext(), own.set_to(own.cell.value)
