"""The configuration of the training of skills that tasks share."""

from dataclasses import dataclass
from typing import Literal, get_args

from lorary.experts.skills.choices import GRANULARITIES, WEIGHTINGS, Granularity, Weighting
from lorary.files import quote
from lorary.training.config import TrainConfig, find_dropout_fault
from lorary.training.field_checks import count, find_field_faults, positive, switch

Trained = Literal["all", "table", "skills"]
"""The parameters that are trained."""
NewRows = Literal["random", "mean", "uniform"]
"""The initial rows of tasks that are not in a table."""
AdaptationMode = Literal["poly", "poly-z", "poly-mu", "mhr", "mhr-z", "mhr-mu"]
"""The published ways to adapt skills to new tasks, see ``lorary.training.skill_modes``."""
ADAPTATION_MODES: tuple[str, ...] = get_args(AdaptationMode)

_CHECKS = {
    **dict.fromkeys(("num_skills", "num_splits"), count),
    **dict.fromkeys(("shared_skill", "balanced"), switch),
    "table_learning_rate": positive,
}
_CHOICES = {
    "granularity": GRANULARITIES,
    "weighting": WEIGHTINGS,
    "trained": get_args(Trained),
    "new_rows": get_args(NewRows),
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
    balanced: bool = False
    """Train on all tasks equally often; otherwise tasks with more examples count more."""
    table_learning_rate: float = 0.1
    """Peak learning rate of the table, which has no weight decay."""
    trained: Trained = "all"
    """Parameters that are trained: 'all', only the 'table', or only the 'skills'; the table is then used as
    in evaluation."""
    new_rows: NewRows = "random"
    """Start of the rows of tasks that are not in the table yet: 'random' (small, as PEFT's and as published),
    the 'mean' of its rows, or 'uniform' (equal weights)."""

    def __post_init__(self) -> None:
        faults = [*find_field_faults(self, _CHECKS)]
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                faults.append(
                    f"{name} must be one of {', '.join(known)}, found {quote(getattr(self, name), 60)}"
                )
        faults += find_dropout_fault(self.train)
        if faults:
            raise ValueError("configuration of skills: " + "; ".join(faults))
