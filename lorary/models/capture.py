"""Capturing the inputs of layers with experts, and the outputs of other modules.

B rows of a batch, L row length, N selected tokens, I layer input, D width of an output.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.experts.stacked_parameters import is_sub_layer
from lorary.models.architecture import is_encoder_decoder
from lorary.models.called import find_reading_layers
from lorary.models.expert_stack import ExpertStack
from lorary.models.per_thread import in_this_thread

Receive = Callable[[str, Tensor], None]
"""Called with a module path and input tokens ``[N, I]``."""


@contextmanager
def capture_inputs(
    stack: ExpertStack, mask: Tensor, receive: Receive, decoder_mask: Tensor | None = None
) -> Iterator[None]:
    """Within this context, pass inputs of layers with experts to ``receive`` when this thread runs the model.

    Args:
        stack: the experts on the model.
        mask: the selected tokens of the batch, ``[B, L]``, True N times.
        receive: called once per layer and run, in the order in which the layers run. It gets the layer's
            module path and the inputs of the selected tokens ``[N, I]``, in the batch's order: a copy in the
            model's dtype, without gradients.
        decoder_mask: if an encoder reads the batch, the selected tokens of what the decoder reads,
            ``[B, D]``; None leaves out layers that read no token of the batch.

    Raises:
        ValueError: (when the model runs) if the batch does not have the mask's number of tokens.
    """

    def hand_over(path: str, mask: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        wanted = mask.flatten().nonzero().squeeze(-1)
        flat = torch.Size([mask.numel()])

        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach()
            if is_sub_layer(path):
                raise ValueError(
                    f"inputs of {path} cannot be read, since a mixture of experts gives it only some tokens: "
                    "use what needs the experts alone, such as the routers 'arrow' and 'spectr'"
                )
            # Some layers get the tokens of all sequences in one row, [T, I].
            if x.shape[:-1] not in (mask.shape, flat):
                raise ValueError(
                    f"the mask must have the batch's shape, found {tuple(mask.shape)} (sequences, tokens), "
                    f"but {path} has inputs {tuple(x.shape[:-1])}: pass a mask of that shape"
                )
            receive(path, x.flatten(0, -2)[wanted.to(x.device)])

        return in_this_thread(hook)

    reading = find_reading_layers(stack.model) if is_encoder_decoder(stack.model) else stack.layers
    masks = {path: mask if path in reading else decoder_mask for path in stack.layers}
    handles = [
        stack.layers[path].register_forward_pre_hook(hand_over(path, own))
        for path, own in masks.items()
        if own is not None
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def capture_outputs(model: PreTrainedModel, paths: Collection[str], receive: Receive) -> Iterator[None]:
    """Within this context, pass outputs of modules to ``receive`` when this thread runs the model.

    Args:
        model: the model.
        paths: module paths, such as those of blocks.
        receive: called with a path and the module's output for all tokens, ``[B×L, D]``, in the model's
            dtype, without gradients. Of a module that returns several values it is the first one.

    Raises:
        ValueError: (when the model runs) if a module returns no tensor first.
    """

    def hand_over(path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if not isinstance(first, Tensor) or first.dim() < 2:
                raise ValueError(
                    f"the output of {path} cannot be read, it is not a tensor with a row for each token: use "
                    "what needs layers with experts only, such as the routers 'arrow' and 'calibrated'"
                )
            receive(path, first.detach().flatten(0, -2))

        return in_this_thread(hook)

    handles = [model.get_submodule(path).register_forward_hook(hand_over(path)) for path in paths]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
