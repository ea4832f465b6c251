"""Arcee Fusion: the first expert, with the most important entries of the second.

Shape letters: I layer input, O layer output.
"""

from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.layer import MergeLayer

# Added to each probability, as in mergekit.
_SMALLEST = 1e-8


@dataclass(frozen=True, kw_only=True)
class ArceeFusionConfig:
    """``arcee_fusion`` has no options."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_arcee_fusion(layer: MergeLayer, config: ArceeFusionConfig) -> Tensor:
    """Replace entries of the first expert by those of the second where their importance is an outlier.

    An entry's importance is the absolute difference of the two experts' entries, times the Kullback-Leibler
    divergence of the softmax of its row in the second from that in the first. An importance is an outlier if
    it is at least the median plus 1.5 interquartile ranges over all entries of the layer.

    It works on the entries of the weight changes, and is exact except for the final truncation. It merges two
    experts, whose order matters, without weights; the first may be the base model.

    Source: mergekit 0.1.5, which uses the models' weights, and for the quantiles of large layers a sample of
    a million entries.
    """
    blocks = LayerBlocks(layer)
    importance = blocks.empty()
    for rows in blocks.iterate_rows():
        importance[rows] = _compute_importance(blocks.form(0, rows), blocks.form(1, rows))
    threshold = _compute_threshold(importance)
    merged = blocks.empty()
    for rows in blocks.iterate_rows():
        first = blocks.form(0, rows)
        difference = blocks.form(1, rows).sub_(first)
        merged[rows] = first.add_(difference.masked_fill_(importance[rows] < threshold, 0.0))
    return merged


def _compute_importance(first: Tensor, second: Tensor) -> Tensor:
    """Compute the importance of each entry of a block ``[B, I]``."""
    # In float64, because the divergence of small weight changes is below the precision of float32.
    p = second.double().softmax(-1).add_(_SMALLEST)
    q = first.double().softmax(-1).add_(_SMALLEST)
    divergence = (p * (p / q).log()).sum(-1, keepdim=True)
    return ((second - first).abs() * divergence).to(first.dtype)


def _compute_threshold(importance: Tensor) -> float:
    """Compute the median plus 1.5 interquartile ranges of all importances."""
    ordered = importance.flatten().numpy().copy()
    ordered.sort()
    first, median, third = (float(ordered[int(q * (len(ordered) - 1))]) for q in (0.25, 0.5, 0.75))
    return median + 1.5 * (third - first)
