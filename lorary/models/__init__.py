"""Experts in a model: the primitive ``mix``, the layer ``ExpertLinear``, base models, attach and fold."""

from lorary.kernels.checks import COMBINES
from lorary.models.attach import ExpertStack, attach_experts, attach_slots, check_expert
from lorary.models.base import BaseModel, check_base, default_dtype, load_base, wrap_base
from lorary.models.capture import capture_inputs
from lorary.models.checkpointing import checkpoint_layers
from lorary.models.expert_linear import ExpertLinear
from lorary.models.fingerprint import fingerprint_model
from lorary.models.fit_paths import fit_paths
from lorary.models.fold import fold
from lorary.models.grow import drop_expert, insert_expert
from lorary.models.layers import layer_shape
from lorary.models.logits import select_positions, target_losses
from lorary.models.mix import mix
from lorary.models.mix_backends import BACKENDS
from lorary.models.plan import Plan
from lorary.models.positions import check_length, count_positions
from lorary.models.same_input import group_same_inputs
from lorary.models.save_folded import save_folded
from lorary.models.targets import find_layers

__all__ = [
    "BACKENDS",
    "COMBINES",
    "BaseModel",
    "ExpertLinear",
    "ExpertStack",
    "Plan",
    "attach_experts",
    "attach_slots",
    "capture_inputs",
    "check_base",
    "check_expert",
    "check_length",
    "checkpoint_layers",
    "count_positions",
    "default_dtype",
    "drop_expert",
    "find_layers",
    "fingerprint_model",
    "fit_paths",
    "fold",
    "group_same_inputs",
    "insert_expert",
    "layer_shape",
    "load_base",
    "mix",
    "save_folded",
    "select_positions",
    "target_losses",
    "wrap_base",
]
