"""The settings of the quickstart."""

from dataclasses import dataclass

TASKS = (
    "call_signs",
    "iso_dates",
    "number_words",
    "past_tense",
    "person_records",
    "prices",
    "questions",
    "word_initials",
)
ROUTER = "calibrated"
"""The default router (a test holds them equal), whose answers and routing are shown."""
ROUTES = ("base", "uniform", "multi-task", "arrow", ROUTER, "oracle")
METRIC = "exact_match"


@dataclass(frozen=True, kw_only=True)
class QuickstartPlan:
    """All settings that the outcome depends on. A saved outcome is reused for the same plan only."""

    base: str = "smollm2-135m"
    """The base model."""
    tasks: tuple[str, ...] = TASKS
    """Synthetic tasks, with one expert each."""
    num_tests: int = 8
    """Test examples per task."""
    max_steps: int = 12
    """Optimiser steps per expert, of ``batch_size`` examples."""
    batch_size: int = 8
    """Examples per optimiser step."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    seed: int = 0
    """Seed of tasks and training."""

    @property
    def multi_task_steps(self) -> int:
        """Optimiser steps of the one expert trained on all tasks together."""
        return 2 * self.max_steps

    @property
    def multi_task_share(self) -> float:
        """Number of its examples, divided by that of all other experts together."""
        return self.multi_task_steps / (len(self.tasks) * self.max_steps)

    def __post_init__(self) -> None:
        for name in ("num_tests", "max_steps"):
            if getattr(self, name) < 2:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} must be at least 2, found {getattr(self, name)!r}")
