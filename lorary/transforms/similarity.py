"""How alike experts are: cosines of their whole weight changes.

Shape letters: E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.experts import Expert
from lorary.files import quote
from lorary.lowrank import gram_inner
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.stream import stream_layers
from lorary.transforms.merging.survey import Survey, survey_experts
from lorary.transforms.sketches import sketch_experts
from lorary.transforms.stacks import Progress, choose_names


def expert_similarity(
    experts: Mapping[str, Expert],
    names: Sequence[str] | None = None,
    on_progress: Progress | None = None,
    *,
    sketch: int | None = None,
) -> Tensor:
    """Compute the cosine of every two experts' weight changes over all layers together, exactly or nearly.

    It is ``sum_l <D_i, D_j>_l / (|D_i| |D_j|)`` with ``D = b @ a``, from Gram matrices of the factors: no
    ``D`` is formed, and how an expert is factored changes nothing. A layer that an expert leaves alone is
    zero there. Layers are read one after the other, so memory does not grow with the number of layers.

    Args:
        experts: a library or any other mapping.
        names: the experts, in the order of the answer's rows; None for all, in the mapping's order.
        on_progress: called with the number of layers done and the number of all; with a sketch, of experts.
        sketch: None for the exact products, whose work grows as (E R)²; else along how many random directions
            on either side a layer's change is measured, work that grows as E R. With 16 directions and 210
            layers no cosine of 128 random experts was off by more than 0.02.

    Returns:
        A symmetric matrix ``[E, E]``, float32, with ones on its diagonal. An expert that changes nothing has
        similarity 0 to every other.

    Raises:
        ValueError: if there are no experts, one is named twice, or ``sketch`` is below 1.
        UnknownExpert: if a name is not among the experts.
        IncompatibleExpert: if the experts are for different base models or layer shapes.
        FormatError: if an expert's weights are not finite.
    """
    if sketch is not None and sketch < 1:
        raise ValueError(f"sketch must be at least 1, or None for exact products, found {quote(sketch)}")
    survey = survey_experts(experts, choose_names(experts, names), "all")
    if sketch is None:
        products = _multiply_exactly(experts, survey, on_progress)
    else:
        paths = [layer.path for layer in survey.layers]
        rows = sketch_experts(experts, survey.names, paths, sketch, on_progress)
        products = rows @ rows.mT
        products = (products + products.mT).double() / 2
    norms = products.diagonal().clamp(min=0).sqrt()
    scale = torch.where(norms > 0, 1 / norms, 0.0)
    similarity = (scale[:, None] * products * scale).clamp(-1, 1)
    return similarity.fill_diagonal_(1.0).float()


def _multiply_exactly(experts: Mapping[str, Expert], survey: Survey, on_progress: Progress | None) -> Tensor:
    """Compute all inner products, ``[E, E]`` in float64."""
    total = torch.zeros(len(survey.names), len(survey.names), dtype=torch.float64)
    for number, (_, pairs) in enumerate(stream_layers(experts, survey.names, survey.layers), 1):
        total += gram_inner(*pad_ranks(pairs)).cpu()
        if on_progress is not None:
            on_progress(number, len(survey.layers))
    return total
