"""Retrieval by singular directions of flattened factors, as in earlier research code on expert libraries."""

from collections.abc import Sequence

from lorary.adaptation.retrieval.contract import RetrievalContext, Scores
from lorary.adaptation.retrieval.task_expert import compare_with_task
from lorary.transforms.sparse_similarity import sparse_similarity


def score(context: RetrievalContext, names: Sequence[str], seed: int) -> Scores:
    """Compare the new task's expert with the others as ``sparse_similarity`` does.

    This is meaningful only for experts that were trained from the same initial factors (``same_start``),
    because factors are compared, not their product; ``cosine`` does not have this restriction.
    """
    compared = compare_with_task(context, names)
    similarity = sparse_similarity(compared.experts, compared.names)  # [1 + E, 1 + E]
    return Scores(similarity[0, 1:].tolist(), compared.num_tokens)
