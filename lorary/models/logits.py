"""Computing logits only where they are wanted.

B rows, L row length, N wanted positions, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.models.cross_entropy import cross_entropy
from lorary.models.expert_linear import ExpertLinear
from lorary.models.per_thread import in_this_thread


@contextmanager
def select_positions(model: PreTrainedModel, positions: Tensor) -> Iterator[None]:
    """Within this context the model's ``logits`` are, in this thread, those of the wanted positions only.

    The output layer is the widest of a small model; a loss on a few target tokens need not pay for all of it.

    Args:
        model: any causal language model.
        positions: the wanted ones, ``[N]``: indices among all B×L; one may stand twice. The logits then are
            ``[1, N, V]``.
    """

    def keep_inputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[positions].unsqueeze(0), *inputs[1:])

    def keep_outputs(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return logits.flatten(0, 1)[positions].unsqueeze(0)

    output = model.get_output_embeddings()
    if isinstance(output, ExpertLinear):
        # A plan on this layer speaks of all positions.
        handle = output.register_forward_hook(in_this_thread(keep_outputs))
    else:
        handle = output.register_forward_pre_hook(in_this_thread(keep_inputs))
    try:
        yield
    finally:
        handle.remove()


def target_losses(
    model: PreTrainedModel, inputs: Mapping[str, Any], positions: Tensor, labels: Tensor
) -> Tensor:
    """Score the tokens that follow some positions.

    Args:
        model: any causal language model.
        inputs: its keyword arguments, for ``[B, L]`` tokens.
        positions: those whose next token is scored, ``[N]``: indices among all B×L.
        labels: those next tokens, ``[N]``.

    Returns:
        Negative log-likelihoods, ``[N]``, float32.
    """
    with select_positions(model, positions):
        logits = model(**inputs).logits[0]
    return cross_entropy(logits, labels)
