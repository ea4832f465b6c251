"""Weights that add up to 1."""

from lorary.transforms.merging.layer import MergeLayer


def share_weights(layer: MergeLayer) -> tuple[float, ...]:
    """Divide a layer's weights by their sum.

    Raises:
        ValueError: if they add up to zero.
    """
    total = sum(layer.weights)
    if total == 0:
        raise ValueError(
            f"weights that are normalised must not add up to zero, found {list(layer.weights)} in module "
            f"{layer.path!r}: change them, or leave out normalize"
        )
    return tuple(weight / total for weight in layer.weights)
