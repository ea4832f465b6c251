"""Training: one loop and its objectives. A run can be killed at any moment and resumed from its folder."""

from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples, prepare_examples
from lorary.training.objectives.gate_config import GateConfig
from lorary.training.objectives.gates import train_gates
from lorary.training.objectives.lorahub import LorahubConfig, search_weights
from lorary.training.train import train_experts

__all__ = [
    "GateConfig",
    "LorahubConfig",
    "TrainConfig",
    "TrainingExamples",
    "prepare_examples",
    "search_weights",
    "train_experts",
    "train_gates",
]
