"""The choices that skills and their table offer; without PyTorch, for options of commands."""

from typing import Literal, get_args

Weighting = Literal["relaxed", "sigmoid", "straight_through"]
"""How weights are computed in training, see ``lorary.experts.skills.mixing.compute_weights``."""
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)

Granularity = Literal["model", "block", "layer", "linear"]
"""The layers that share rows of a table, see ``lorary.experts.skills.task_table.name_group``."""
GRANULARITIES: tuple[str, ...] = get_args(Granularity)
