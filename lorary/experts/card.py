"""What is known about an expert besides its weights."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lorary.files import LIMITS, check_shape, escape, quote

# Where there is none of these, JSON has neither half a character nor a huge integer nor any depth; it is much
# faster to look for them than to walk through the values.
SUSPECT = re.compile(r"\\ud|\d{40}|(?:[\[{][^\[{]*){50}")

# PEFT's, as far as they end in no head of their own that an expert could not hold.
TASK_TYPES = ("CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION")


@dataclass(frozen=True, kw_only=True)
class ExpertCard:
    """What ``expert.json`` holds, besides an expert's name, its base model and the weights' hash.

    Raises:
        TypeError: if a field is of another type than declared.
        ValueError: if a score is not finite, a text is not Unicode, or the provenance cannot be written as
            JSON.
    """

    tasks: tuple[str, ...] = ()
    """Names of the tasks it was trained on."""
    tags: tuple[str, ...] = ()
    """Free words to find it by."""
    description: str = ""
    """A sentence or two for people."""
    base_revision: str | None = None
    """The base model's revision on its hub."""
    base_fingerprint: str | None = None
    """A hash of the base model's configuration and weights."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Data, training configuration, seeds, versions: anything that JSON can hold."""
    parents: tuple[str, ...] = ()
    """Names of the experts it was made from."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Measured results, by the name of the measure."""
    fan_in_fan_out: bool = False
    """The base layers are GPT-2's Conv1D; only PEFT needs to be told."""
    task_type: str | None = "CAUSAL_LM"
    """What the base model is for, as PEFT calls it; None is any model. Only PEFT needs to be told."""

    def __post_init__(self) -> None:
        for name in ("tasks", "tags", "parents"):
            object.__setattr__(self, name, _check_words(name, getattr(self, name)))
        for name in ("description", "base_revision", "base_fingerprint"):
            _check_text(name, getattr(self, name), optional=name != "description")
        if not isinstance(self.fan_in_fan_out, bool):
            raise TypeError(f"fan_in_fan_out must be true or false, got {quote(self.fan_in_fan_out, 60)}")
        if self.task_type is not None and self.task_type not in TASK_TYPES:
            raise ValueError(
                f"task_type must be one of {', '.join(TASK_TYPES)} or None, got {quote(self.task_type, 60)}"
            )
        object.__setattr__(self, "scores", _check_scores(self.scores))
        object.__setattr__(self, "provenance", _copy_json(self.provenance))
        _check_unicode(self)


def _check_words(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, tuple | list) or not all(isinstance(word, str) for word in value):
        raise TypeError(f"{name} must be a tuple of strings, got {quote(value, 60)}")
    return tuple(value)


def _check_text(name: str, value: Any, optional: bool) -> None:
    if not isinstance(value, str) and not (optional and value is None):
        wanted = f"a string{' or None' if optional else ''}"
        raise TypeError(f"{name} must be {wanted}, got {quote(value, 60)}")


def _check_scores(scores: Any) -> dict[str, float]:
    if not isinstance(scores, Mapping):
        raise TypeError(f"scores must map names to numbers, got {quote(scores, 60)}")
    for name, score in scores.items():
        if not isinstance(name, str) or isinstance(score, bool) or not isinstance(score, int | float):
            raise TypeError(f"scores must map names to numbers, got {quote(name, 60)}: {quote(score, 60)}")
        # Compared as they are: a huge integer is no float.
        if not abs(score) <= sys.float_info.max:
            raise ValueError(f"a score must be finite, got {quote(score, 60)} for {quote(name, 60)}")
    return {name: float(score) for name, score in scores.items()}


def _copy_json(provenance: Any) -> dict[str, Any]:
    """Copy through JSON, so that a card equals itself after a round trip through its file."""
    if not isinstance(provenance, Mapping):
        raise TypeError(f"provenance must be a mapping, got {quote(provenance, 60)}")
    try:
        return json.loads(json.dumps(dict(provenance), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"provenance must hold only what JSON can ({escape(str(error), keep='', longest=200)}), "
            f"got {quote(provenance, 60)}"
        ) from error


def _check_unicode(card: ExpertCard) -> None:
    """Refuse what could be written to no file that is read again."""
    for own in fields(card):
        value = getattr(card, own.name)
        if own.name != "provenance" or SUSPECT.search(json.dumps(value)):
            try:
                # The file is one level above.
                check_shape(value, max_depth=int(LIMITS["json_depth"].value) - 1)
            except ValueError as error:
                raise ValueError(f"{own.name}: {error}") from error
