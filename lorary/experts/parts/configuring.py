"""The settings of ``adapter_config.json`` that an expert's parts need."""

from collections.abc import Mapping
from typing import Any

from lorary.experts.parts.contract import Part
from lorary.experts.parts.sorting import list_kinds
from lorary.experts.parts.table import KINDS


def configure_parts(name: str, parts: Mapping[str, tuple[Part, ...]], *, has_factors: bool) -> dict[str, Any]:
    """Return PEFT's type of adapters with these parts, and the settings that they need.

    Args:
        name: the expert's name, for messages.
        parts: module path -> parts.
        has_factors: whether the expert has low-rank factors too.

    Raises:
        ValueError: if PEFT has no adapters with all of these kinds.
    """
    settings: dict[str, Any] = {}
    types = {"LORA"} if has_factors else set()
    for kind in list_kinds(parts):
        own = {path: part for path, each in parts.items() for part in each if part.kind == kind}
        for key, value in KINDS[kind].configure(own).items():
            if key == "peft_type":
                types.add(value)
            else:
                settings[key] = value
        if (peft_type := KINDS[kind].peft_type) is not None:
            types.add(peft_type)
    if len(types) != 1:
        found = " and ".join(
            [*["low-rank factors"] * has_factors, *(KINDS[kind].title for kind in list_kinds(parts))]
        )
        wanted = (
            "no type of adapters has all of these" if types else "such an adapter must have more than these"
        )
        raise ValueError(
            f"expert {name!r} cannot be written as a PEFT adapter: it has {found}, and {wanted}: fold it "
            "into its base model"
        )
    return {**settings, "peft_type": types.pop()}
