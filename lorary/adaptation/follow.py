"""Training configurations that follow the experts of a library: their rank, and the layers they change."""

from collections.abc import Iterable
from dataclasses import replace

from lorary.experts import Expert
from lorary.training import TrainConfig


def follow_experts(config: TrainConfig, experts: Iterable[Expert]) -> TrainConfig:
    """Return a configuration with the experts' largest rank and all layers that they change.

    The scale of ``b @ a`` is kept, so alpha changes with the rank.

    Args:
        config: the configuration.
        experts: at least one, with module paths of the model that is trained.
    """
    found = list(experts)
    rank = max(expert.max_rank for expert in found)
    paths = sorted({path for expert in found for path in expert.outlines})
    alpha = config.alpha * (rank / config.rank) ** (0.5 if config.use_rslora else 1.0)
    return replace(config, rank=rank, alpha=alpha, target_modules=paths)
