"""Running a pass through the model.

N target tokens.
"""

from torch import Tensor

from lorary.models import ExpertStack
from lorary.models.logits import TargetScores, target_losses, target_scores
from lorary.passes.split import Pass
from lorary.routing import Chooser


def score_pass(stack: ExpertStack, part: Pass, chooser: Chooser | None) -> Tensor:
    """Compute the losses of the target tokens of a pass.

    Args:
        stack: the experts on the model.
        part: the sequences.
        chooser: chooses experts for the requests; None for the base model alone.
            ``stack.plan(indices, weights)`` is a chooser of known experts for each request.

    Returns:
        Negative log-likelihoods ``[N]``, float32, with gradients if PyTorch records them. ``part.sequence``
        has the sequence of each.
    """
    inputs = part.batch.inputs_for(stack.model)
    with stack.choosing(chooser, rows=part.call_rows):
        return target_losses(stack.model, inputs, part.batch.positions, part.batch.labels)


def judge_pass(stack: ExpertStack, part: Pass, chooser: Chooser | None) -> TargetScores:
    """Compute as ``score_pass``, and also whether each target token is the model's own choice."""
    inputs = part.batch.inputs_for(stack.model)
    with stack.choosing(chooser, rows=part.call_rows):
        return target_scores(stack.model, inputs, part.batch.positions, part.batch.labels)
