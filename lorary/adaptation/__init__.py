"""Adaptation of a library of experts to new tasks, from a few examples."""

from typing import TYPE_CHECKING

from lorary.adaptation.config import AdaptConfig
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieval import RETRIEVALS
from lorary.lazy import load_lazily

if TYPE_CHECKING:
    from lorary.adaptation.adapting import adapt
    from lorary.adaptation.few import hold_out
    from lorary.adaptation.result import Adapted
    from lorary.adaptation.retrieval import RetrievalContext, Retrieved, retrieve
    from lorary.adaptation.transfer_matrix.matrix import TransferMatrix
    from lorary.adaptation.transfer_matrix.transfer import transfer

__all__ = [
    "METHODS",
    "RETRIEVALS",
    "AdaptConfig",
    "Adapted",
    "RetrievalContext",
    "Retrieved",
    "TransferMatrix",
    "adapt",
    "hold_out",
    "retrieve",
    "transfer",
]

__getattr__ = load_lazily(
    __name__,
    {
        "Adapted": "result",
        "RetrievalContext": "retrieval",
        "Retrieved": "retrieval",
        "TransferMatrix": "transfer_matrix.matrix",
        "adapt": "adapting",
        "hold_out": "few",
        "retrieve": "retrieval",
        "transfer": "transfer_matrix.transfer",
    },
)
