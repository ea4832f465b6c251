"""Checking that an expert is the one that a training would give, for run folders and for libraries."""

from collections.abc import Mapping
from typing import Any

from lorary.experts import ExpertCard
from lorary.files import quote
from lorary.training.config import TrainConfig, gives_the_same


def find_training_fault(
    card: ExpertCard,
    *,
    base_fingerprint: str,
    data_digest: str,
    config: TrainConfig,
    start_digest: str | None = None,
) -> str | None:
    """Describe a difference between an expert's training and a given one, if it changes the result.

    Args:
        card: the expert's card. It may come from anywhere, so its training record may be of any type.
        base_fingerprint: fingerprint of the given training's base model.
        data_digest: digest of its examples.
        config: its configuration.
        start_digest: hash of the weights that it begins with; None if it begins fresh.

    Returns:
        The difference, as a sentence about "it"; None if there is none.
    """
    if card.base_fingerprint != base_fingerprint:
        return (
            f"its base model must have fingerprint {base_fingerprint!r}, found "
            f"{quote(card.base_fingerprint, 80)}"
        )
    if _find(card.provenance, "data", "digest") != data_digest:
        return "it was trained on other examples"
    if not gives_the_same(card.provenance.get("training"), config):
        return "it was trained with another configuration"
    if _find(card.provenance, "start", "weights") != start_digest:
        return "its training began with other weights"
    return None


def _find(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
