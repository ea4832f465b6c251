"""Training: one loop and its objectives. A run can be killed at any moment and resumed from its folder.

What runs a training is loaded when first used, so that options can be read without PyTorch.
"""

from typing import TYPE_CHECKING

from lorary.lazy import load_lazily
from lorary.training.config import TrainConfig

if TYPE_CHECKING:
    from lorary.training.examples import TrainingExamples, prepare_examples
    from lorary.training.moe_training import train_moe
    from lorary.training.objectives.gate_config import GateConfig
    from lorary.training.objectives.lorahub import LorahubConfig, search_weights
    from lorary.training.objectives.moe_config import MoeConfig
    from lorary.training.objectives.skill_config import SkillConfig
    from lorary.training.peft_training import train_with_peft
    from lorary.training.skill_adaptation import adapt_skills
    from lorary.training.skill_modes import prepare_mode
    from lorary.training.skill_start import fit_config
    from lorary.training.skill_training import train_skills
    from lorary.training.train import train_experts

__all__ = [
    "GateConfig",
    "LorahubConfig",
    "MoeConfig",
    "SkillConfig",
    "TrainConfig",
    "TrainingExamples",
    "adapt_skills",
    "fit_config",
    "prepare_examples",
    "prepare_mode",
    "search_weights",
    "train_experts",
    "train_moe",
    "train_skills",
    "train_with_peft",
]

__getattr__ = load_lazily(
    __name__,
    {
        "GateConfig": "objectives.gate_config",
        "LorahubConfig": "objectives.lorahub",
        "MoeConfig": "objectives.moe_config",
        "SkillConfig": "objectives.skill_config",
        "TrainingExamples": "examples",
        "adapt_skills": "skill_adaptation",
        "fit_config": "skill_start",
        "prepare_examples": "examples",
        "prepare_mode": "skill_modes",
        "search_weights": "objectives.lorahub",
        "train_experts": "train",
        "train_moe": "moe_training",
        "train_skills": "skill_training",
        "train_with_peft": "peft_training",
    },
)
