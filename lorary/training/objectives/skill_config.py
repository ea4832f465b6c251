"""The configuration of the training of skills that tasks share."""

from dataclasses import dataclass

from lorary.experts.skills.mixing import WEIGHTINGS, Weighting
from lorary.experts.skills.task_table import GRANULARITIES, Granularity
from lorary.files import quote
from lorary.training.config import TrainConfig
from lorary.training.field_checks import count, find_field_faults, positive, switch

_CHECKS = {
    **dict.fromkeys(("num_skills", "num_splits"), count),
    "shared_skill": switch,
    "table_learning_rate": positive,
}


@dataclass(frozen=True, kw_only=True)
class SkillConfig:
    """The configuration of a training of skills and their table (Polytropon, MHR)."""

    train: TrainConfig
    """Settings of the skills and of the run; ``num_slots`` and ``same_start`` have no effect, because one
    unit has all skills."""
    num_skills: int = 8
    """Number of skills, without the shared one."""
    num_splits: int = 1
    """Blocks of a layer's inputs and outputs, each with its own weights: 1 is Polytropon, more are MHR."""
    granularity: Granularity = "linear"
    """Layers that share rows of the table: 'model', 'block', 'layer' (such as an attention) or 'linear'."""
    weighting: Weighting = "relaxed"
    """Weights in training: 'relaxed' and 'straight_through' are samples, 'sigmoid' is as in evaluation."""
    shared_skill: bool = False
    """Train one more skill, which every task uses with weight 1."""
    table_learning_rate: float = 0.1
    """Peak learning rate of the table, which has no weight decay."""

    def __post_init__(self) -> None:
        faults = [*find_field_faults(self, _CHECKS)]
        for name, known in (("granularity", GRANULARITIES), ("weighting", WEIGHTINGS)):
            if getattr(self, name) not in known:
                faults.append(
                    f"{name} must be one of {', '.join(known)}, found {quote(getattr(self, name), 60)}"
                )
        if faults:
            raise ValueError("configuration of skills: " + "; ".join(faults))
