"""Arcee Fusion: from one expert to another, but only where that matters most.

Shape letters: I layer input, O layer output.
"""

from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.layer import MergeLayer

# Added to every probability, as mergekit does.
_SMALLEST = 1e-8


@dataclass(frozen=True, kw_only=True)
class ArceeFusionConfig:
    """``arcee_fusion`` has no options."""

    def __post_init__(self) -> None:
        refuse_faults(self, [])


def merge_arcee_fusion(layer: MergeLayer, config: ArceeFusionConfig) -> Tensor:
    """Start from the first expert and take those entries of the second whose importance is an outlier.

    An entry's importance is the difference of the two, times the divergence of the softmax of its row in the
    second from that in the first; what lies above the median plus one and a half interquartile ranges is
    taken. Works on the entries of the weight changes; exact before the final cut to a rank, with quantiles of
    all entries of the layer. Takes two experts, of which the first may be the base model, and no weights. The
    order of the two matters.

    Source: mergekit 0.1.5, which looks at whole weights, and at a million entries drawn at random for the
    quantiles of larger layers.
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
    """Measure how much each entry of a block ``[B, I]`` matters."""
    # In float64: the divergence of small weight changes is below what float32 holds.
    p = second.double().softmax(-1).add_(_SMALLEST)
    q = first.double().softmax(-1).add_(_SMALLEST)
    divergence = (p * (p / q).log()).sum(-1, keepdim=True)
    return ((second - first).abs() * divergence).to(first.dtype)


def _compute_threshold(importance: Tensor) -> float:
    """Compute the bound of outliers among all importances."""
    ordered = importance.flatten().numpy().copy()
    ordered.sort()
    first, median, third = (float(ordered[int(q * (len(ordered) - 1))]) for q in (0.25, 0.5, 0.75))
    return median + 1.5 * (third - first)
