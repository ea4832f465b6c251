"""How a recipe names a model: ``poetry``, ``base+poetry``, ``user/poetry``, perhaps with ``@revision``."""

import re
from typing import NamedTuple

from lorary.experts import check_name

_HUB_ID = re.compile(r"[^/\\\s]+/[^/\\\s]+")


class Reference(NamedTuple):
    """What one name stands for."""

    name: str
    """An expert's name or hub id; or a base model's, if there is no expert of that name."""
    base: str | None
    """The base model that is named with the expert."""


def read_reference(text: str) -> Reference:
    """Understand a model's name as mergekit does: ``base+lora`` is an expert for a base model.

    Args:
        text: the name. Of a path or hub id behind a ``+`` the last part is the expert's name.

    Raises:
        ValueError: if it can be no expert's name.
    """
    base, plus, lora = text.partition("+")
    if plus and base and lora:
        name = re.split(r"[/\\]", _drop_revision(lora).rstrip("/\\"))[-1]
        return Reference(check_name(name), _drop_revision(base))
    whole = _drop_revision(text)
    if _HUB_ID.fullmatch(whole):
        for part in whole.split("/"):
            check_name(part)
        return Reference(whole, None)
    return Reference(check_name(text), None)


def _drop_revision(text: str) -> str:
    return text.partition("@")[0] or text
