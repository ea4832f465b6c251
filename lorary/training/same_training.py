"""Whether an expert is the one that a training would give: asked of run folders and of libraries."""

from collections.abc import Mapping
from typing import Any

from lorary.experts import ExpertCard
from lorary.files import quote
from lorary.training.config import TrainConfig, gives_the_same


def find_training_fault(
    card: ExpertCard, *, base_fingerprint: str, data_digest: str, config: TrainConfig
) -> str | None:
    """Say in what an expert's training differs from another, as far as that matters to the result.

    Args:
        card: the expert's; it may be anybody's, so what it says of a training may be of any type.
        base_fingerprint: the other's base model's.
        data_digest: of the other's examples.
        config: of the other.

    Returns:
        The difference, as a sentence about "it"; None if there is none.
    """
    if card.base_fingerprint != base_fingerprint:
        return f"it is of base model {quote(card.base_fingerprint, 80)}, not {base_fingerprint!r}"
    if _find(card.provenance, "data", "digest") != data_digest:
        return "it was trained on other examples"
    if not gives_the_same(card.provenance.get("training"), config):
        return "it was trained with another configuration"
    return None


def _find(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
