"""Training: loops that return experts, one or many at once, and can be killed at any moment."""

from lorary.training.config import TrainConfig
from lorary.training.curves import plot_curves, save_curves
from lorary.training.examples import TrainingExamples, prepare_examples
from lorary.training.gate_config import GateConfig
from lorary.training.gates import train_gates
from lorary.training.lorahub import LorahubConfig, LorahubResult, search_weights
from lorary.training.progress import Progress
from lorary.training.run import TrainEvent
from lorary.training.train import TrainOutcome, train_experts

__all__ = [
    "GateConfig",
    "LorahubConfig",
    "LorahubResult",
    "Progress",
    "TrainConfig",
    "TrainEvent",
    "TrainOutcome",
    "TrainingExamples",
    "plot_curves",
    "prepare_examples",
    "save_curves",
    "search_weights",
    "train_experts",
    "train_gates",
]
