"""What matters of ``adapter_config.json``: each module's rank and scale."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from lorary.errors import FormatError

CONFIG_FILE = "adapter_config.json"
DEFAULT_RANK = 8  # LoraConfig's own defaults, where an old or hand-written file leaves a key out
DEFAULT_ALPHA = 8

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The part of PEFT's ``LoraConfig`` that says what an adapter's tensors mean; it can be hashed."""

    rank: int = DEFAULT_RANK
    """Rank of the modules no pattern matches."""
    alpha: float = DEFAULT_ALPHA
    """Alpha of the modules no pattern matches."""
    rank_pattern: tuple[tuple[str, int], ...] = ()
    """Regular expressions and ranks; the first that matches a module counts."""
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    """Regular expressions and alphas; the first that matches a module counts."""
    use_rslora: bool = False
    """The scale is ``alpha / sqrt(rank)`` instead of ``alpha / rank``."""
    fan_in_fan_out: bool = False
    """The base layers are GPT-2's Conv1D."""
    base_model: str = ""
    """Hub id or path of the base model; empty if the file does not say."""
    revision: str | None = None
    """The base model's revision."""

    def rank_of(self, module: str) -> int:
        """Find a module's rank."""
        return _look_up(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """Find what PEFT multiplies a module's ``b @ a`` with."""
        alpha = _look_up(self.alpha_pattern, module, self.alpha)
        rank = self.rank_of(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def match_pattern(patterns: Iterable[str], module: str) -> str | None:
    """Find the first pattern that matches a module's path, as PEFT's ``get_pattern_key`` does.

    A pattern matches the whole path, or its end after a dot: ``q_proj`` and ``layers.0.q_proj``
    match ``model.layers.0.q_proj``; a leading ``^`` asks for the whole path.
    """
    for key in patterns:
        if re.match(rf"(.*\.)?({key})$", module):
            return key
    return None


def parse_adapter_config(value: Mapping[str, Any], path: str) -> AdapterConfig:
    """Understand the object of an ``adapter_config.json`` of type LORA.

    Args:
        value: the object.
        path: the file it came from, for messages.

    Raises:
        FormatError: naming all faults at once.
    """
    given = {key: value[key] for key in CHECKS if key in value}
    faults = [
        f"{key} must be {expected}, found {given[key]!r}"
        for key, (expected, is_sound) in CHECKS.items()
        if key in given and not is_sound(given[key])
    ]
    if faults:
        raise FormatError(
            f"{path!r} is not a sound LoRA configuration: {'; '.join(faults)}: correct the file"
        )
    return AdapterConfig(
        rank=given.get("r", DEFAULT_RANK),
        alpha=given.get("lora_alpha", DEFAULT_ALPHA),
        rank_pattern=tuple((given.get("rank_pattern") or {}).items()),
        alpha_pattern=tuple((given.get("alpha_pattern") or {}).items()),
        use_rslora=bool(given.get("use_rslora")),
        fan_in_fan_out=bool(given.get("fan_in_fan_out")),
        base_model=given.get("base_model_name_or_path") or "",
        revision=given.get("revision"),
    )


def _look_up(patterns: Iterable[tuple[str, Number]], module: str, default: Number) -> Number:
    known = dict(patterns)
    key = match_pattern(known, module)
    return default if key is None else known[key]


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_rank_pattern(value: Any) -> bool:
    return value is None or (_is_pattern(value) and all(map(_is_rank, value.values())))


def _is_alpha_pattern(value: Any) -> bool:
    return value is None or (_is_pattern(value) and all(map(_is_alpha, value.values())))


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    try:
        for key in value:
            re.compile(rf"(.*\.)?({key})$")
    except re.error:
        return False
    return True


CHECKS = {
    "r": ("a whole number above 0", _is_rank),
    "lora_alpha": ("a finite number", _is_alpha),
    "rank_pattern": ("an object of regular expressions and whole numbers above 0", _is_rank_pattern),
    "alpha_pattern": ("an object of regular expressions and finite numbers", _is_alpha_pattern),
    "use_rslora": ("true or false", _is_flag),
    "fan_in_fan_out": ("true or false", _is_flag),
    "base_model_name_or_path": ("a string or null", _is_text),
    "revision": ("a string or null", _is_text),
}
