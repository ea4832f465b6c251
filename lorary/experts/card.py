"""An expert's card: tasks, tags, description, base model, provenance and scores."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lorary.experts.roles import ROLES
from lorary.files import LIMITS, check_shape, escape, quote

# JSON text that may have surrogates, very large integers or deep nesting. Searching the text for these is
# much
# faster than visiting all values.
SUSPECT = re.compile(r"\\ud|\d{40}|(?:[\[{][^\[{]*){50}")

# PEFT's task types of models without a trained head, which an expert cannot represent.
CAUSAL = "CAUSAL_LM"
SHOWN_DIGITS = 12
SEQ_2_SEQ = "SEQ_2_SEQ_LM"
"""PEFT's task type of adapters of a model with an encoder and a decoder."""
TASK_TYPES = (CAUSAL, SEQ_2_SEQ, "FEATURE_EXTRACTION")


@dataclass(frozen=True, kw_only=True)
class ExpertCard:
    """The content of ``expert.json`` except the expert's name, its base model and the hashes of files.

    Raises:
        TypeError: if a field has another type than declared.
        ValueError: if a score is not finite, a text is not valid Unicode, or the provenance cannot be written
            as JSON.
    """

    tasks: tuple[str, ...] = ()
    """Names of the tasks on which it was trained."""
    tags: tuple[str, ...] = ()
    """Keywords for searching."""
    description: str = ""
    """One or two sentences."""
    role: str = "expert"
    """A key of ``ROLES``. Only the role ``"expert"`` is used if no experts are named."""
    base_revision: str | None = None
    """The base model's revision on the hub."""
    base_fingerprint: str | None = None
    """A hash of the base model's configuration and weights."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Data, training configuration, seeds, versions; any JSON values."""
    parents: tuple[str, ...] = ()
    """Names of the experts from which it was made."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Name of a measure -> measured value."""
    on_top_of: str | None = None
    """Hash of the weights of the general expert that it builds on, which is added to it wherever it is used;
    None for an expert that is complete by itself."""
    fan_in_fan_out: bool = False
    """Whether the base layers are GPT-2's Conv1D; only PEFT uses it."""
    task_type: str | None = CAUSAL
    """PEFT's task type of the base model; None for any model. Only PEFT uses it."""

    def __post_init__(self) -> None:
        for name in ("tasks", "tags", "parents"):
            object.__setattr__(self, name, _check_words(name, getattr(self, name)))
        for name in ("description", "base_revision", "base_fingerprint"):
            _check_text(name, getattr(self, name), optional=name != "description")
        if not isinstance(self.role, str) or self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, found {quote(self.role, 60)}")
        if self.on_top_of is not None and not _is_hash(self.on_top_of):
            raise ValueError(
                "on_top_of must be the SHA-256 of a general expert's weights, 64 hexadecimal digits, or "
                f"None, found {quote(self.on_top_of, 60)}"
            )
        if not isinstance(self.fan_in_fan_out, bool):
            raise TypeError(f"fan_in_fan_out must be true or false, found {quote(self.fan_in_fan_out, 60)}")
        if self.task_type is not None and self.task_type not in TASK_TYPES:
            raise ValueError(
                f"task_type must be one of {', '.join(TASK_TYPES)} or None, found {quote(self.task_type, 60)}"
            )
        object.__setattr__(self, "scores", _check_scores(self.scores))
        object.__setattr__(self, "provenance", _copy_json(self.provenance))
        _check_unicode(self)


def shorten_hash(weights: str) -> str:
    """Return the first digits of a hash of weights, for messages and tables."""
    return f"{weights[:SHOWN_DIGITS]}…"


def _check_words(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, tuple | list) or not all(isinstance(word, str) for word in value):
        raise TypeError(f"{name} must be a tuple of strings, found {quote(value, 60)}")
    return tuple(value)


def _check_text(name: str, value: Any, optional: bool) -> None:
    if not isinstance(value, str) and not (optional and value is None):
        wanted = f"a string{' or None' if optional else ''}"
        raise TypeError(f"{name} must be {wanted}, found {quote(value, 60)}")


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _check_scores(scores: Any) -> dict[str, float]:
    if not isinstance(scores, Mapping):
        raise TypeError(f"scores must map names to numbers, found {quote(scores, 60)}")
    for name, score in scores.items():
        if not isinstance(name, str) or isinstance(score, bool) or not isinstance(score, int | float):
            raise TypeError(f"scores must map names to numbers, found {quote(name, 60)}: {quote(score, 60)}")
        # Not math.isfinite: it raises OverflowError for a very large int.
        if not abs(score) <= sys.float_info.max:
            raise ValueError(f"a score must be finite, found {quote(score, 60)} for {quote(name, 60)}")
    return {name: float(score) for name, score in scores.items()}


def _copy_json(provenance: Any) -> dict[str, Any]:
    """Copy values by writing and parsing JSON, so that a card equals the card that is read from its file."""
    if not isinstance(provenance, Mapping):
        raise TypeError(f"provenance must be a mapping, found {quote(provenance, 60)}")
    try:
        return json.loads(json.dumps(dict(provenance), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"provenance must have JSON values only ({escape(str(error), keep='', longest=200)}), "
            f"found {quote(provenance, 60)}"
        ) from error


def _check_unicode(card: ExpertCard) -> None:
    """Refuse values whose file could not be read again."""
    for own in fields(card):
        value = getattr(card, own.name)
        if own.name != "provenance" or SUSPECT.search(json.dumps(value)):
            try:
                # In the file, values are one level deeper.
                check_shape(value, max_depth=int(LIMITS["json_depth"].value) - 1)
            except ValueError as error:
                raise ValueError(f"{own.name}: {error}") from error
