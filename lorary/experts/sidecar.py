"""The file ``expert.json`` in an expert's folder: name, base model, card, and hashes of the other files."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from lorary.errors import FormatError, suggest
from lorary.experts.card import CAUSAL, ExpertCard
from lorary.experts.expert import Expert
from lorary.experts.names import check_name
from lorary.experts.roles import infer_role
from lorary.files import quote

SIDECAR_FILE = "expert.json"
SIDECAR_VERSION = 1
CARD_KEYS = tuple(field.name for field in fields(ExpertCard))
MAX_TEXT = 4096  # the longest path in Linux
MOST_FAULTS = 5  # in one message
MOST_KINDS = 100
KEYS = ("lorary", "name", "base_model", *CARD_KEYS, "summary", "weights_sha256", "config_sha256")


class WeightSummary(NamedTuple):
    """The size of an expert's weights, for listings that do not open them."""

    num_parameters: int
    """Number of weights in all factors and parts."""
    num_modules: int
    """Number of modules that it changes."""
    max_rank: int
    """The largest rank; 0 without low-rank factors."""
    dtype: str
    """Dtypes, such as ``"bfloat16"`` or ``"bfloat16+float32"``."""
    kinds: tuple[str, ...] = ()
    """Kinds of its parts; empty for low-rank factors only."""


class Sidecar(NamedTuple):
    """The content of an ``expert.json``."""

    name: str
    """The expert's name."""
    base_model: str
    """Its base model; empty if unknown."""
    card: ExpertCard
    """Its card."""
    weights_sha256: str | None
    """Hash of the bytes of ``adapter_model.safetensors``; None if unknown."""
    summary: WeightSummary | None
    """Size of the weights; None if unknown."""
    config_sha256: str | None = None
    """Hash of the bytes of ``adapter_config.json``; None if unknown."""


def summarize_weights(expert: Expert) -> WeightSummary:
    """Count an expert's weights for its sidecar."""
    dtype = "+".join(str(dtype).removeprefix("torch.") for dtype in expert.dtypes)
    kinds = tuple(expert.kinds)
    return WeightSummary(expert.num_parameters, len(expert.paths), expert.max_rank, dtype, kinds)


def build_sidecar(expert: Expert, weights_sha256: str, config_sha256: str) -> dict[str, Any]:
    """Build the object of ``expert.json``.

    Args:
        expert: the written expert, in its final dtype.
        weights_sha256: hash of the bytes of its weights file.
        config_sha256: hash of the bytes of its configuration.
    """
    card = {name: getattr(expert.card, name) for name in CARD_KEYS}
    if card["on_top_of"] is None:
        # Earlier versions refuse unknown keys, as they must if the sum is meant.
        del card["on_top_of"]
    # For listings; an expert that is read has that of adapter_config.json. Earlier versions refuse the key.
    if expert.card.task_type == CAUSAL:
        del card["task_type"]
    summary = summarize_weights(expert)._asdict()
    return {
        "lorary": SIDECAR_VERSION,
        "name": expert.name,
        "base_model": expert.base_model,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in card.items()},
        "summary": {key: value for key, value in summary.items() if key != "kinds" or value},
        "weights_sha256": weights_sha256,
        "config_sha256": config_sha256,
    }


def parse_sidecar(value: Mapping[str, Any], path: str) -> Sidecar:
    """Parse the object of an ``expert.json``.

    Args:
        value: the object.
        path: path of its file, for messages.

    Raises:
        FormatError: if the version differs, or with all unknown or missing keys and wrong types.
    """
    _check_version(value.get("lorary"), path)
    unknown = islice((key for key in value if key not in KEYS), MOST_FAULTS)
    faults = [f"unknown key {quote(key, 60)}: {suggest(key, KEYS)}" for key in unknown]
    faults += [f"key {key!r} is missing" for key in ("name", "base_model") if key not in value]
    faults += [fault for key in value if key in CHECKS and (fault := _find_fault(key, value[key]))]
    # Cards of versions without roles are known by their content.
    known = {"role": infer_role(value), **value}
    card = _build_card({key: known[key] for key in CARD_KEYS if key in known}, faults)
    if faults or card is None:
        shown = "; ".join(faults[:MOST_FAULTS])
        raise FormatError(f"{quote(path)} is not a valid expert card: {shown}: correct or remove it")
    summary = value.get("summary")
    return Sidecar(
        value["name"],
        value["base_model"],
        card,
        value.get("weights_sha256"),
        None if summary is None else WeightSummary(**{**summary, "kinds": tuple(summary.get("kinds", ()))}),
        value.get("config_sha256"),
    )


def _check_version(version: Any, path: str) -> None:
    if type(version) is int and version > SIDECAR_VERSION:
        raise FormatError(
            f"the version of {quote(path)} must be at most {SIDECAR_VERSION}, found {quote(version, 60)}: "
            "upgrade lorary"
        )
    if version != SIDECAR_VERSION or type(version) is not int:
        raise FormatError(
            f"{quote(path)} must have its version ('lorary': {SIDECAR_VERSION}), found {quote(version, 60)}: "
            "it is not an expert card, or it is damaged"
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
        raise TypeError(f"base_model must be a string, found {quote(value, 60)}")
    if len(value) > MAX_TEXT:
        raise ValueError(f"base_model must have at most {MAX_TEXT} characters, found {quote(value, 60)}")


def _check_hash(key: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError(f"{key} must be 64 hexadecimal digits, found {quote(value)}")


def _check_summary(value: Any) -> None:
    if value is None:
        return
    types = {"num_parameters": int, "num_modules": int, "max_rank": int, "dtype": str}
    kinds = value.get("kinds", []) if isinstance(value, dict) else []
    is_sound = (
        isinstance(value, dict)
        and {key: type(item) for key, item in value.items() if key != "kinds"} == types
        and all((0 if kinds else 1) <= value[name] < 2**63 for name, kind in types.items() if kind is int)
        and len(value["dtype"]) <= 60
        and isinstance(kinds, list)
        and len(kinds) <= MOST_KINDS
        and all(isinstance(kind, str) and len(kind) <= 60 for kind in kinds)
    )
    if not is_sound:
        raise ValueError(f"summary must have {', '.join(types)} in their ranges, found {quote(value, 60)}")


CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": partial(check_name, is_stored=True),
    "base_model": _check_base_model,
    "weights_sha256": partial(_check_hash, "weights_sha256"),
    "config_sha256": partial(_check_hash, "config_sha256"),
    "summary": _check_summary,
}
