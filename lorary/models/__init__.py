"""Base models and the experts on them: the operator ``mix``, the layer ``ExpertLinear``, attach and fold."""

from lorary.kernels.checks import COMBINES
from lorary.models.attach import attach_experts
from lorary.models.base import BaseModel, load_base, wrap_base
from lorary.models.expert_stack import ExpertStack
from lorary.models.fold import fold
from lorary.models.layers import layer_shape
from lorary.models.logits import select_positions
from lorary.models.mix import mix
from lorary.models.save_folded import save_folded
from lorary.models.targets import find_layers

__all__ = [
    "COMBINES",
    "BaseModel",
    "ExpertStack",
    "attach_experts",
    "find_layers",
    "fold",
    "layer_shape",
    "load_base",
    "mix",
    "save_folded",
    "select_positions",
    "wrap_base",
]
