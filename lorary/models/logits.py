"""Computing logits at some positions only.

B rows, L row length, N positions, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.models.cross_entropy import cross_entropy
from lorary.models.expert_linear import ExpertLinear
from lorary.models.per_thread import in_this_thread


@contextmanager
def select_positions(model: PreTrainedModel, positions: Tensor) -> Iterator[None]:
    """Within this context, in this thread, the model computes ``logits`` at the given positions only.

    In a small model the output layer takes much of the time, and a loss needs few positions.

    Args:
        model: any language model.
        positions: ``[N]``, indices among the B×L; an index may occur twice. The logits are ``[1, N, V]``.
    """

    def keep_inputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[positions].unsqueeze(0), *inputs[1:])

    def keep_outputs(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return logits.flatten(0, 1)[positions].unsqueeze(0)

    output = model.get_output_embeddings()
    if isinstance(output, ExpertLinear):
        # The chooser of this layer has requests for all positions, so all inputs must reach it.
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
    """Compute the loss of the tokens that follow some positions.

    Args:
        model: any language model.
        inputs: its keyword arguments, for ``[B, L]`` tokens.
        positions: ``[N]``, indices among the B×L.
        labels: the token that follows each position, ``[N]``.

    Returns:
        Negative log-likelihoods, ``[N]``, float32.
    """
    with select_positions(model, positions):
        logits = model(**inputs).logits[0]
    return cross_entropy(logits, labels)


class TargetScores(NamedTuple):
    """A model's scores of the tokens that follow some positions."""

    losses: Tensor
    """Negative log-likelihoods, ``[N]``, float32."""
    is_likeliest: Tensor
    """Whether no other token has a larger logit, ``[N]``; of equal logits the first counts."""


def target_scores(
    model: PreTrainedModel, inputs: Mapping[str, Any], positions: Tensor, labels: Tensor
) -> TargetScores:
    """Compute as ``target_losses``, and also whether each label is the model's own choice."""
    with select_positions(model, positions):
        logits = model(**inputs).logits[0]
    return TargetScores(cross_entropy(logits, labels), logits.argmax(-1) == labels)
