"""Retrieval by the cosine of an expert's weight change with that of an expert of the new task.

E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Sequence

import torch

from lorary.adaptation.retrieval.contract import RetrievalContext, Scores
from lorary.adaptation.retrieval.task_expert import compare_with_task
from lorary.lowrank import frobenius_norm
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.stream import stream_layers
from lorary.transforms.merging.survey import survey_experts


def score(context: RetrievalContext, names: Sequence[str], seed: int) -> Scores:
    """Compute cosines ``sum_l <D, D_e>_l / (|D| |D_e|)`` of weight changes ``b @ a`` over all layers.

    They do not depend on the factorisation. An expert whose weight change is zero has cosine 0. The time
    grows with E, not with its square as in ``expert_similarity``.
    """
    compared = compare_with_task(context, names)
    survey = survey_experts(compared.experts, compared.names, "all")
    inner = torch.zeros(len(compared.names), dtype=torch.float64)
    squares = torch.zeros_like(inner)
    for _, pairs in stream_layers(compared.experts, compared.names, survey.layers):
        a, b = pad_ranks(pairs)  # [1 + E, R, I], [1 + E, O, R]
        products = (a @ a[0].mT) * (b.mT @ b[0])  # [1 + E, R, R]
        inner += products.sum((1, 2)).cpu()
        squares += frobenius_norm(a, b).square().cpu()
    norms = (squares * squares[0]).sqrt()
    cosines = torch.where(norms > 0, inner / norms, 0.0)
    return Scores(cosines[1:].tolist(), compared.num_tokens)
