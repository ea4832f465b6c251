"""Adaptation of a library of experts to new tasks, from a few examples."""

from typing import TYPE_CHECKING

from lorary.adaptation.retrieval import RETRIEVALS
from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.adaptation.retrieval import RetrievalContext, Retrieved, retrieve

__all__ = ["RETRIEVALS", "RetrievalContext", "Retrieved", "retrieve"]

__getattr__ = load_lazily(
    __name__, {"RetrievalContext": "retrieval", "Retrieved": "retrieval", "retrieve": "retrieval"}
)
