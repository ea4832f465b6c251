"""Computing logits only where they are wanted.

B rows, L row length, N wanted positions, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from lorary.models.expert_linear import ExpertLinear


@contextmanager
def select_positions(model: PreTrainedModel, mask: Tensor) -> Iterator[None]:
    """Within this context the model's ``logits`` are ``[1, N, V]``: those of the masked positions only.

    The output layer is the widest of a small model; a loss on a few target tokens need not pay for all of it.

    Args:
        model: any causal language model.
        mask: the wanted positions, ``[B, L]``, true N times; rows in order, positions in order.
    """

    def keep_inputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][mask].unsqueeze(0), *inputs[1:])

    def keep_outputs(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return logits[mask].unsqueeze(0)

    output = model.get_output_embeddings()
    if isinstance(output, ExpertLinear):
        # A plan on this layer speaks of all positions.
        handle = output.register_forward_hook(keep_outputs)
    else:
        handle = output.register_forward_pre_hook(keep_inputs)
    try:
        yield
    finally:
        handle.remove()


def target_losses(model: PreTrainedModel, inputs: Mapping[str, Any], mask: Tensor, labels: Tensor) -> Tensor:
    """Score the tokens that follow the masked positions.

    Args:
        model: any causal language model.
        inputs: its keyword arguments, for ``[B, L]`` tokens.
        mask: the positions whose next token is scored, ``[B, L]``, true N times.
        labels: those next tokens, ``[N]``.

    Returns:
        Negative log-likelihoods, ``[N]``, float32.
    """
    with select_positions(model, mask):
        logits = model(**inputs).logits[0]
    return functional.cross_entropy(logits.float(), labels, reduction="none")
