"""Parsing ``adapter_config.json``: rank and scale of each module, base model and task type."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lorary.errors import FormatError
from lorary.experts.card import TASK_TYPES
from lorary.experts.module_patterns import ModulePatterns
from lorary.files import LIMITS, PatternMatcher, quote, say_count
from lorary.files.patterns import PatternError

CONFIG_FILE = "adapter_config.json"
DEFAULT_RANK = 8  # defaults of LoraConfig, for old or hand-written files without these keys
DEFAULT_ALPHA = 8
MAX_RANK = 2**20  # larger than any layer's width
MAX_ALPHA = 3.4e38  # slightly less than the largest float32
MAX_TEXT = 4096  # the longest path in Linux
MAX_NAMES = 1000  # target parameters: full paths of a model of 500 blocks


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The settings of a PEFT configuration that determine what an adapter changes; hashable."""

    peft_type: str = "LORA"
    """PEFT's type of the adapter."""
    rank: int = DEFAULT_RANK
    """Rank of modules without a matching pattern."""
    alpha: float = DEFAULT_ALPHA
    """Alpha of modules without a matching pattern."""
    rank_pattern: tuple[tuple[str, int], ...] = ()
    """Pairs of a regular expression and a rank; the first match of a module is used."""
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    """Pairs of a regular expression and an alpha; the first match of a module is used."""
    use_rslora: bool = False
    """Whether the scale is ``alpha / sqrt(rank)`` instead of ``alpha / rank``."""
    fan_in_fan_out: bool = False
    """Whether the base layers are GPT-2's Conv1D."""
    base_model: str = ""
    """Hub id or path of the base model; empty if unknown."""
    revision: str | None = None
    """The base model's revision."""
    task_type: str | None = None
    """Task type of the model, which determines PEFT's class for it; None for any model."""
    num_virtual_tokens: int | None = None
    """Number of virtual tokens of a soft prompt; None for other types."""
    target_parameters: tuple[str, ...] = ()
    """Parameters with factors, by their paths or the ends of these; see ``stacked_parameters``."""
    modules_to_save: tuple[str, ...] = ()
    """Ends of the paths of modules whose own weights were trained."""
    token_indices: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Pairs of the end of an embedding's path, empty for any, and the tokens that were trained there."""


class ModuleScale(NamedTuple):
    """Rank and scale of one module."""

    rank: int
    """Rank of its factors."""
    scale: float
    """PEFT's factor of ``b @ a``."""


def compute_scales(config: AdapterConfig, modules: Iterable[str]) -> dict[str, ModuleScale]:
    """Compute rank and scale of each module.

    Args:
        config: configuration of the adapter.
        modules: paths of the modules.

    Returns:
        Module path -> rank and scale.

    Raises:
        PatternError: if matching the patterns takes too long.
    """
    matcher, paths = PatternMatcher(), list(modules)
    ranks, alphas = dict(config.rank_pattern), dict(config.alpha_pattern)
    rank_keys = _find_keys(ranks, paths, matcher)
    # Files by lorary have equal patterns for ranks and alphas; then one search is enough.
    alpha_keys = rank_keys if list(alphas) == list(ranks) else _find_keys(alphas, paths, matcher)
    found = {}
    for path, rank_key, alpha_key in zip(paths, rank_keys, alpha_keys, strict=True):
        rank, alpha = ranks.get(rank_key, config.rank), alphas.get(alpha_key, config.alpha)
        found[path] = ModuleScale(rank, alpha / (math.sqrt(rank) if config.use_rslora else rank))
    return found


def _find_keys(keys: Iterable[str], modules: Iterable[str], matcher: PatternMatcher) -> list[str]:
    """Return each module's first matching key; as in PEFT, its own path if there is none."""
    patterns = ModulePatterns(keys, matcher)
    found = ((patterns.find(module), module) for module in modules)
    return [module if key is None else key for key, module in found]


def parse_adapter_config(value: Mapping[str, Any], path: str) -> AdapterConfig:
    """Parse the object of an ``adapter_config.json``.

    Args:
        value: the object.
        path: path of its file, for messages.

    Raises:
        FormatError: with all faults.
    """
    given = {key: value[key] for key in (*CHECKS, *PATTERN_CHECKS) if key in value}
    faults = [
        f"{key} must be {expected}, found {quote(given[key], 60)}"
        for key, (expected, is_sound) in CHECKS.items()
        if key in given and not is_sound(given[key])
    ]
    faults += [
        fault
        for key, is_sound in PATTERN_CHECKS.items()
        if (fault := _find_pattern_fault(key, given.get(key), is_sound))
    ]
    if faults:
        raise FormatError(
            f"{quote(path)} is not a valid configuration: {'; '.join(faults)}: correct the file"
        )
    return AdapterConfig(
        peft_type=str(value.get("peft_type", "LORA"))[:60],
        rank=given.get("r", DEFAULT_RANK),
        alpha=given.get("lora_alpha", DEFAULT_ALPHA),
        rank_pattern=tuple((given.get("rank_pattern") or {}).items()),
        alpha_pattern=tuple((given.get("alpha_pattern") or {}).items()),
        use_rslora=bool(given.get("use_rslora")),
        fan_in_fan_out=bool(given.get("fan_in_fan_out")),
        base_model=given.get("base_model_name_or_path") or "",
        revision=given.get("revision"),
        task_type=given.get("task_type"),
        num_virtual_tokens=given.get("num_virtual_tokens"),
        target_parameters=tuple(given.get("target_parameters") or ()),
        modules_to_save=tuple(given.get("modules_to_save") or ()),
        token_indices=_list_tokens(given.get("trainable_token_indices") or given.get("token_indices") or {}),
    )


def _list_tokens(value: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    by_module = value if isinstance(value, dict) else {"": value}
    return tuple((module, tuple(tokens)) for module, tokens in by_module.items() if tokens)


def _is_rank(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_RANK


def _is_count(value: Any) -> bool:
    return value is None or _is_rank(value)


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_ALPHA


def _is_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= MAX_TEXT)


def _is_task_type(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in TASK_TYPES)


def _are_names(value: Any) -> bool:
    return value is None or (
        isinstance(value, list)
        and len(value) <= MAX_NAMES
        and all(isinstance(name, str) and 0 < len(name) <= MAX_TEXT for name in value)
    )


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int and 0 <= token < 2**31 for token in value)


def _is_tokens_of_modules(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) <= LIMITS["pattern_count"].value and all(map(_is_tokens, value.values()))
    return value is None or _is_tokens(value)


def _find_pattern_fault(name: str, value: Any, is_sound: Callable[[Any], bool]) -> str | None:
    """Describe the fault in patterns and their numbers, without matching them, or return None."""
    if value is None:
        return None
    wanted = f"{name} must map regular expressions to numbers"
    if not isinstance(value, dict):
        return f"{wanted}, found {quote(value, 60)}"
    if len(value) > LIMITS["pattern_count"].value:
        return f"{name} has {say_count(len(value), 'pattern')}: {LIMITS['pattern_count'].advice}"
    for key, number in value.items():
        if not is_sound(number):
            kind = name.removesuffix("_pattern")
            return f"{wanted} that are valid as {kind}, found {quote(number, 60)} for {quote(key, 60)}"
    try:
        ModulePatterns(value, PatternMatcher())
    except PatternError as error:
        return f"{wanted}: {error}"
    return None


CHECKS = {
    "r": (f"a whole number from 1 to {MAX_RANK}", _is_rank),
    "lora_alpha": ("a finite number within float32's range", _is_alpha),
    "use_rslora": ("true or false", _is_flag),
    "fan_in_fan_out": ("true or false", _is_flag),
    "base_model_name_or_path": (f"a string of at most {MAX_TEXT} characters or null", _is_text),
    "task_type": (f"one of {', '.join(TASK_TYPES)} or null", _is_task_type),
    "target_parameters": (f"a list of at most {MAX_NAMES} names of parameters, or null", _are_names),
    "num_virtual_tokens": (f"a whole number from 1 to {MAX_RANK}, or null", _is_count),
    "revision": (f"a string of at most {MAX_TEXT} characters or null", _is_text),
    "modules_to_save": (f"a list of at most {MAX_NAMES} names of modules, or null", _are_names),
    "trainable_token_indices": ("a list of tokens, or such lists by module", _is_tokens_of_modules),
    "token_indices": ("a list of tokens", _is_tokens_of_modules),
}
PATTERN_CHECKS = {"rank_pattern": _is_rank, "alpha_pattern": _is_alpha}
