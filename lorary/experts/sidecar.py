"""The sidecar ``expert.json``: an expert's name, base model and card, beside the weights."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from lorary.errors import FormatError, suggest
from lorary.experts.card import ExpertCard
from lorary.experts.expert import Expert
from lorary.experts.names import check_name
from lorary.files import quote

SIDECAR_FILE = "expert.json"
SIDECAR_VERSION = 1
# The task type stands in adapter_config.json alone.
CARD_KEYS = tuple(field.name for field in fields(ExpertCard) if field.name != "task_type")
MAX_TEXT = 4096  # the longest path that Linux opens
MOST_FAULTS = 5  # in one message
KEYS = ("lorary", "name", "base_model", *CARD_KEYS, "summary", "weights_sha256", "config_sha256")


class WeightSummary(NamedTuple):
    """What a listing shows about weights without opening them."""

    num_parameters: int
    """How many numbers the factors hold."""
    num_modules: int
    """How many modules have factors."""
    max_rank: int
    """The largest rank."""
    dtype: str
    """Such as ``"bfloat16"``, or ``"bfloat16+float32"``."""


class Sidecar(NamedTuple):
    """What one ``expert.json`` says."""

    name: str
    """The expert's name."""
    base_model: str
    """The model it was trained on; empty if unknown."""
    card: ExpertCard
    """What is known about it."""
    weights_sha256: str | None
    """Hash of the bytes of ``adapter_model.safetensors``; None if nothing says."""
    summary: WeightSummary | None
    """Size of the weights; None if nothing says."""
    config_sha256: str | None = None
    """Hash of the bytes of ``adapter_config.json``; None if nothing says."""


def summarize_weights(expert: Expert) -> WeightSummary:
    """Count an expert's weights for its sidecar."""
    dtype = "+".join(str(dtype).removeprefix("torch.") for dtype in expert.dtypes)
    return WeightSummary(expert.num_parameters, len(expert.factors), expert.max_rank, dtype)


def build_sidecar(expert: Expert, weights_sha256: str, config_sha256: str) -> dict[str, Any]:
    """Build the object that ``expert.json`` holds.

    Args:
        expert: the expert as it is written, in its final dtype.
        weights_sha256: hash of the bytes of its weights file.
        config_sha256: hash of the bytes of its configuration.
    """
    card = {name: getattr(expert.card, name) for name in CARD_KEYS}
    return {
        "lorary": SIDECAR_VERSION,
        "name": expert.name,
        "base_model": expert.base_model,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in card.items()},
        "summary": summarize_weights(expert)._asdict(),
        "weights_sha256": weights_sha256,
        "config_sha256": config_sha256,
    }


def parse_sidecar(value: Mapping[str, Any], path: str) -> Sidecar:
    """Understand the object of an ``expert.json``.

    Args:
        value: the object.
        path: the file it came from, for messages.

    Raises:
        FormatError: naming all faults at once: another version, unknown or missing keys, wrong types.
    """
    _check_version(value.get("lorary"), path)
    unknown = islice((key for key in value if key not in KEYS), MOST_FAULTS)
    faults = [f"unknown key {quote(key, 60)}: {suggest(key, KEYS)}" for key in unknown]
    faults += [f"key {key!r} is missing" for key in ("name", "base_model") if key not in value]
    faults += [fault for key in value if key in CHECKS and (fault := _find_fault(key, value[key]))]
    card = _build_card({key: value[key] for key in CARD_KEYS if key in value}, faults)
    if faults or card is None:
        shown = "; ".join(faults[:MOST_FAULTS])
        raise FormatError(f"{quote(path)} is not a sound expert card: {shown}: correct or remove it")
    summary = value.get("summary")
    return Sidecar(
        value["name"],
        value["base_model"],
        card,
        value.get("weights_sha256"),
        None if summary is None else WeightSummary(**summary),
        value.get("config_sha256"),
    )


def _check_version(version: Any, path: str) -> None:
    if type(version) is int and version > SIDECAR_VERSION:
        raise FormatError(
            f"{quote(path)} is of version {quote(version, 60)}, this lorary reads up to {SIDECAR_VERSION}: "
            "upgrade lorary"
        )
    if version != SIDECAR_VERSION or type(version) is not int:
        raise FormatError(
            f"{quote(path)} must say which version it is ('lorary': {SIDECAR_VERSION}), found "
            f"{quote(version, 60)}: it is not an expert card, or damaged"
        )


def _build_card(values: dict[str, Any], faults: list[str]) -> ExpertCard | None:
    try:
        return ExpertCard(**values)
    except (TypeError, ValueError) as error:
        faults.append(str(error))
        return None


def _find_fault(key: str, value: Any) -> str | None:
    try:
        CHECKS[key](value)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _check_base_model(value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"base_model must be a string, got {quote(value, 60)}")
    if len(value) > MAX_TEXT:
        raise ValueError(f"base_model must have at most {MAX_TEXT} characters, got {quote(value, 60)}")


def _check_hash(key: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError(f"{key} must be 64 hexadecimal digits, got {quote(value)}")


def _check_summary(value: Any) -> None:
    if value is None:
        return
    types = {name: str if name == "dtype" else int for name in WeightSummary._fields}
    is_sound = (
        isinstance(value, dict)
        and {key: type(item) for key, item in value.items()} == types
        and all(0 < value[name] < 2**63 for name, kind in types.items() if kind is int)
        and len(value["dtype"]) <= 60
    )
    if not is_sound:
        raise ValueError(f"summary must hold {', '.join(types)} within their range, got {quote(value, 60)}")


CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": partial(check_name, is_stored=True),
    "base_model": _check_base_model,
    "weights_sha256": partial(_check_hash, "weights_sha256"),
    "config_sha256": partial(_check_hash, "config_sha256"),
    "summary": _check_summary,
}
