"""Whether a rank makes sense for the layers in training."""

from collections.abc import Mapping

from lorary.models import layer_shape
from lorary.models.layers import BaseLayer


def check_rank(layers: Mapping[str, BaseLayer], rank: int) -> None:
    """Refuse a rank above the narrower width of every layer: no weight change has such a rank.

    Args:
        layers: the layers in training.
        rank: the rank of new experts.

    Raises:
        ValueError: if the rank is too high.
    """
    most = max((min(layer_shape(layer)) for layer in layers.values()), default=rank)
    if rank > most:
        raise ValueError(
            f"rank must be at most {most:,}, the largest rank that a weight change of the base model's "
            f"layers can have, found {rank:,}: use a lower rank, such as 8 to 64"
        )
