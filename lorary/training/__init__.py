"""Training: loops over a base model that return experts, one or many at once, and can be killed at any moment."""

from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples, prepare_examples
from lorary.training.train import TrainEvent, TrainOutcome, train_experts
from lorary.training.trainee import Progress

__all__ = [
    "Progress",
    "TrainConfig",
    "TrainEvent",
    "TrainOutcome",
    "TrainingExamples",
    "prepare_examples",
    "train_experts",
]
