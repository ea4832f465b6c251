"""How alike experts are by the recipe of model-based clustering: cosines of their largest numbers.

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
    """Compute cosines of experts' factors, of which only the largest numbers count, in few dimensions.

    All numbers of an expert's factors are one long row; those that are not among its largest by magnitude
    become zero; the rows are cut to their leading singular directions, and compared. So this depends on how
    an expert is factored, and experts that were not trained from one start compare badly;
    `expert_similarity` does not have that weakness. Lower ranks are filled up with zeros; the scale of an
    expert is in its up-projections.

    Args:
        experts: a library or any other mapping.
        names: the experts, in the order of the answer's rows; None for all.
        density: share of an expert's numbers that is kept.
        dimensions: most singular directions; there are no more than experts.
        on_progress: called with the number of steps done and of all: every expert, then every layer.

    Returns:
        A symmetric matrix ``[E, E]``, float32, with ones on its diagonal. An expert that changes nothing has
        similarity 0 to every other.

    Raises:
        ValueError: if there are no experts, one is named twice, or an option is out of range.
        UnknownExpert: if a name is not among the experts.
        IncompatibleExpert: if the experts are for different base models or layer shapes.
        FormatError: if an expert's weights are not finite.

    Source: arXiv:2405.11157.
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, found {quote(density)}")
    if dimensions < 1:
        raise ValueError(f"dimensions must be at least 1, found {quote(dimensions)}")
    survey = survey_experts(experts, choose_names(experts, names), "all")
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
    """Compute the magnitude from which on a number is among the largest of an expert."""
    parts = [part for pair in expert.factors.values() for part in pair]
    sizes = torch.cat([part.detach().double().abs().flatten() for part in parts])
    num_kept = max(1, round(density * len(sizes)))
    return float(sizes.kthvalue(len(sizes) - num_kept + 1).values)


def _compare_leading(inner: Tensor, dimensions: int) -> Tensor:
    """Turn inner products ``[E, E]`` of rows into cosines in the rows' leading singular directions."""
    eigenvalues, eigenvectors = torch.linalg.eigh(inner)
    points = (eigenvectors * eigenvalues.clamp(min=0).sqrt())[:, -dimensions:]
    # Of an expert that changes nothing, no rounding is left.
    units = torch.where(inner.diagonal()[:, None] > 0, torch.nn.functional.normalize(points), 0.0)
    return (units @ units.mT).clamp(-1, 1).fill_diagonal_(1.0).float()
