"""The prompt settings of experts' training, from their cards."""

from collections.abc import Iterable, Mapping
from typing import Any

from lorary.data.templates import TEMPLATES
from lorary.library.entry import Entry


def list_trained_prompts(entries: Iterable[Entry]) -> list[Mapping[str, Any]]:
    """List the different settings of prompts in the cards of experts; cards without any are left out.

    Returns:
        Settings such as ``{"template": "plain", "with_definition": True, …}``, each once.
    """
    cards = [entry.card.provenance.get("prompts") for entry in entries]
    known = [card for card in cards if isinstance(card, Mapping) and card.get("template") in TEMPLATES]
    return [card for place, card in enumerate(known) if card not in known[:place]]


def find_common_prompts(entries: Iterable[Entry]) -> Mapping[str, Any]:
    """Return the settings of prompts of all experts; empty if they are unknown, or differ."""
    found = list_trained_prompts(entries)
    return found[0] if len(found) == 1 else {}
