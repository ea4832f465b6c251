"""Retrieval: the experts of a library that fit a new task best, found from a few of its examples."""

from typing import TYPE_CHECKING

from lorary.adaptation.retrieval.table import DEFAULT_RETRIEVAL, RETRIEVALS
from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.adaptation.retrieval.contract import RetrievalContext
    from lorary.adaptation.retrieval.subset import Retrieved, retrieve

__all__ = ["DEFAULT_RETRIEVAL", "RETRIEVALS", "RetrievalContext", "Retrieved", "retrieve"]

__getattr__ = load_lazily(
    __name__, {"RetrievalContext": "contract", "Retrieved": "subset", "retrieve": "subset"}
)
