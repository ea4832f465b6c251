"""Describe the outcome of a training run, as a table or JSON."""

from collections.abc import Mapping
from typing import Any

from lorary.cli.printing import format_count
from lorary.training.curves import smooth_curve
from lorary.training.progress import UnitProgress

COLUMNS = ("expert", "steps", "tokens", "first loss", "last loss", "best validation loss")
NUMERIC = COLUMNS[1:]


def summarize_progress(name: str, found: UnitProgress) -> dict[str, Any]:
    """Describe one expert's training in JSON values; losses are smoothed over steps."""
    losses = smooth_curve(found.train_curve)
    return {
        "expert": name,
        "steps": found.step,
        "tokens": found.tokens,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "best_validation_loss": found.best_loss,
        "best_step": found.best_step,
    }


def tabulate_progress(progress: Mapping[str, UnitProgress]) -> list[tuple[str, ...]]:
    """Make a table row of ``COLUMNS`` for each unit of a run."""
    rows = [summarize_progress(name, found) for name, found in progress.items()]
    return [
        (
            row["expert"],
            format_count(row["steps"]),
            format_count(row["tokens"]),
            _format_loss(row["first_loss"]),
            _format_loss(row["last_loss"]),
            _format_loss(row["best_validation_loss"]),
        )
        for row in rows
    ]


def _format_loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.3f}"
