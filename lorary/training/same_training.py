"""Checking that an expert is the result that a training would give, for run folders and for libraries."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lorary.experts import ExpertCard
from lorary.files import quote
from lorary.training.config import TrainConfig, gives_the_same, list_differences
from lorary.training.objectives.skill_config import SkillConfig

MOST_NAMED = 3


def find_training_fault(
    card: ExpertCard,
    *,
    base_fingerprint: str,
    data_digest: str,
    config: TrainConfig,
    start_digest: str | None = None,
    on_top_of: str | None = None,
) -> str | None:
    """Describe a difference between an expert's training and a given one, if it changes the result.

    Args:
        card: the expert's card. It may come from anywhere, so its training record may be of any type.
        base_fingerprint: fingerprint of the given training's base model.
        data_digest: digest of its examples.
        config: its configuration.
        start_digest: hash of the weights that it starts from; None if it has no start.
        on_top_of: hash of the weights of the general expert on top of which it is trained; None for none.

    Returns:
        The difference, as a sentence about "it"; None if there is none.
    """
    fault = _find_base_fault(card, base_fingerprint)
    if fault:
        return fault
    if _find(card.provenance, "data", "digest") != data_digest:
        return "it was trained on other examples"
    if not gives_the_same(card.provenance.get("training"), config):
        different = list_differences(card.provenance.get("training"), config)
        more = f" and {len(different) - MOST_NAMED} more" if len(different) > MOST_NAMED else ""
        return f"it was trained with other settings ({'; '.join(different[:MOST_NAMED])}{more})"
    if _find(card.provenance, "start", "weights") != start_digest:
        return "its training started from other weights"
    if card.on_top_of != on_top_of:
        return (
            "it was trained on top of a general expert"
            if on_top_of is None
            else f"it was trained on top of {'no' if card.on_top_of is None else 'another'} general expert"
        )
    return None


def find_skill_fault(
    card: ExpertCard, *, base_fingerprint: str, data_digests: Mapping[str, str], config: SkillConfig
) -> str | None:
    """Describe a difference between a skill's training and a given one, if it changes the result.

    Args:
        card: the skill's card. It may come from anywhere, so its training record may be of any type.
        base_fingerprint: fingerprint of the given training's base model.
        data_digests: task -> digest of its examples.
        config: its configuration.

    Returns:
        The difference, as a sentence about "it"; None if there is none.
    """
    fault = _find_base_fault(card, base_fingerprint)
    if fault:
        return fault
    if _find(card.provenance, "data", "digests") != dict(data_digests):
        return "it was trained on other examples"
    settings = card.provenance.get("training")
    own = {**settings, "train": None} if isinstance(settings, Mapping) else None
    same_run = gives_the_same(_find(settings, "train"), config.train)
    return (
        None
        if same_run and own == {**asdict(config), "train": None}
        else ("it was trained with another configuration")
    )


def _find_base_fault(card: ExpertCard, fingerprint: str) -> str | None:
    if card.base_fingerprint == fingerprint:
        return None
    return f"its base model must have fingerprint {fingerprint!r}, found {quote(card.base_fingerprint, 80)}"


def _find(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
