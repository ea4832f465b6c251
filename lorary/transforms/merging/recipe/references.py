"""Names of models in recipes: ``poetry``, ``base+poetry``, ``user/poetry``, optionally with ``@revision``."""

import re
from typing import NamedTuple

from lorary.experts import check_name

_HUB_ID = re.compile(r"[^/\\\s]+/[^/\\\s]+")


class Reference(NamedTuple):
    """A parsed name of a model."""

    name: str
    """Name or hub id of an expert, or of a base model if there is no such expert."""
    base: str | None
    """The base model before ``+``, if there is one."""


def read_reference(text: str) -> Reference:
    """Parse a model's name as in mergekit: ``base+lora`` is an expert for a base model.

    Args:
        text: the name. If a path or hub id follows ``+``, its last part is the expert's name.

    Raises:
        ValueError: if it is not a valid name of an expert.
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
