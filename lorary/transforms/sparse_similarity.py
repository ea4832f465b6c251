"""Similarity of experts by model-based clustering (MBC): cosines of their largest weights.

Shape letters: E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.experts import Expert
from lorary.files import quote
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.stream import stream_layers
from lorary.transforms.merging.survey import survey_experts
from lorary.transforms.stacks import Progress, choose_names


def sparse_similarity(
    experts: Mapping[str, Expert],
    names: Sequence[str] | None = None,
    *,
    density: float = 0.2,
    dimensions: int = 64,
    on_progress: Progress | None = None,
) -> Tensor:
    """Compute cosines of the experts' sparse factors in a few dimensions.

    An expert's factors are flattened into one row, in which only the entries of largest magnitude are kept.
    The rows are projected onto their leading singular directions, and compared there. The result depends on
    the factorisation of each expert, so it is meaningful only for experts that were trained from the same
    initial factors; `expert_similarity` does not have this restriction. Lower ranks are padded with zeros;
    the scale of an expert is included in its up-projections.

    Args:
        experts: a library or any other mapping.
        names: the experts, in the order of the result's rows; None for those of ``list_routed``.
        density: share of an expert's entries that is kept.
        dimensions: largest number of singular directions; it is also limited to the number of experts.
        on_progress: called with the number of steps done and of all steps; there is a step for each expert,
            then one for each layer.

    Returns:
        A symmetric matrix ``[E, E]``, float32, with a diagonal of ones. An expert whose weight change is zero
        has similarity 0 to all others.

    Raises:
        ValueError: if there are no experts, a name is given twice, or an option is out of range.
        UnknownExpert: if there is no expert of a name.
        IncompatibleExpert: if the experts are for different base models or have different layer shapes.
        FormatError: if an expert has NaN or infinite weights.

    Source: arXiv:2405.11157.
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, found {quote(density)}")
    if dimensions < 1:
        raise ValueError(f"dimensions must be at least 1, found {quote(dimensions)}")
    survey = survey_experts(experts, choose_names(experts, names, "comparing experts"), "all")
    num_steps = len(survey.names) + len(survey.layers)
    thresholds = torch.zeros(len(survey.names), dtype=torch.float64)
    for index, name in enumerate(survey.names):
        thresholds[index] = compute_threshold(experts[name], density)
        if on_progress is not None:
            on_progress(index + 1, num_steps)
    total = torch.zeros(len(survey.names), len(survey.names), dtype=torch.float64)
    for number, (_, pairs) in enumerate(stream_layers(experts, survey.names, survey.layers), 1):
        for factor in pad_ranks(pairs):
            rows = factor.flatten(1)  # [E, R I] or [E, O R]
            kept = torch.where(rows.abs() >= thresholds[:, None], rows, 0.0)
            total += (kept @ kept.mT).cpu()
        if on_progress is not None:
            on_progress(len(survey.names) + number, num_steps)
    return _compare_leading(total, dimensions)


def compute_threshold(expert: Expert, density: float) -> float:
    """Compute the smallest magnitude among the share ``density`` of an expert's largest entries."""
    parts = [part for pair in expert.factors.values() for part in pair]
    sizes = torch.cat([part.detach().double().abs().flatten() for part in parts])
    num_kept = max(1, round(density * len(sizes)))
    return float(sizes.kthvalue(len(sizes) - num_kept + 1).values)


def _compare_leading(inner: Tensor, dimensions: int) -> Tensor:
    """Compute cosines in the leading singular directions of rows with these inner products ``[E, E]``."""
    eigenvalues, eigenvectors = torch.linalg.eigh(inner)
    points = (eigenvectors * eigenvalues.clamp(min=0).sqrt())[:, -dimensions:]
    # Without this, the rounding errors of an expert without weight change would become a unit vector.
    units = torch.where(inner.diagonal()[:, None] > 0, torch.nn.functional.normalize(points), 0.0)
    return (units @ units.mT).clamp(-1, 1).fill_diagonal_(1.0).float()
