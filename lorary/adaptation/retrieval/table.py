"""The retrieval methods by name. A new one is a file and a line here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorary.adaptation.retrieval.contract import RetrievalContext, Scorer, Scores


@dataclass(frozen=True, kw_only=True)
class RetrievalMethod:
    """An entry of the table."""

    score: "Scorer"
    """Scores the experts; a pure function of its arguments."""
    summary: str
    """A short description of what is compared, for help texts."""


def _method(file: str, summary: str) -> RetrievalMethod:
    """Make an entry whose file is imported at first use, so that help texts need no PyTorch."""

    def score(context: "RetrievalContext", names: Sequence[str], seed: int) -> "Scores":
        scores: Scores = import_module(f"lorary.adaptation.retrieval.{file}").score(context, names, seed)
        return scores

    return RetrievalMethod(score=score, summary=summary)


RETRIEVALS: dict[str, RetrievalMethod] = {
    "calibrated": _method("calibrated", "how strongly experts react to the examples' prompts"),
    "cosine": _method("cosine", "weight changes with those of an expert trained briefly on the examples"),
    "embedding": _method("embedding", "prompts with examples of the experts' tasks, or with their cards"),
    "svd": _method("svd", "as cosine, by the largest entries of the factors in a few dimensions"),
    "random": _method("random_order", "nothing: a random draw, as a control"),
}
DEFAULT_RETRIEVAL = "calibrated"
"""The default: it needs only the experts, and reads each prompt once."""
ENCODER_RETRIEVAL = "embedding"
"""The default on a base model with an encoder, for which there is no generic text to calibrate with."""


def choose_retrieval(is_encoder_decoder: bool, router_options: Mapping[str, Any]) -> str:
    """Return the retrieval that is used if none is named.

    Args:
        is_encoder_decoder: whether the base model has an encoder, see ``BaseModel.is_encoder_decoder``.
        router_options: options of the calibrated router; with ``generic`` texts it works with an encoder too.
    """
    needs_text = is_encoder_decoder and "generic" not in router_options
    return ENCODER_RETRIEVAL if needs_text else DEFAULT_RETRIEVAL
