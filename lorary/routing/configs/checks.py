"""Checks of options that several routers have."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Literal, get_args

from lorary.files import quote
from lorary.routing.option_types import LARGEST, SMALLEST, Options, require_types

DEFAULT_TOP_K = 4
InputNorm = Literal["none", "unit", "rms"]
INPUT_NORMS: Sequence[str] = get_args(InputNorm)


def resolve_top_k(top_k: int | None, num_experts: int, default: int = DEFAULT_TOP_K) -> int:
    """Return the number of experts to keep: ``top_k``; if None, the default, or all if there are fewer.

    Raises:
        ValueError: if ``top_k`` is below 1 or above the number of experts.
    """
    if top_k is None:
        return min(default, num_experts)
    check_top_k(top_k, num_experts)
    return top_k


def check_top_k(top_k: int, num_experts: int) -> None:
    """Check that ``top_k`` is between 1 and the number of experts.

    Raises:
        ValueError: if it is not.
    """
    if not 1 <= top_k <= num_experts:
        raise ValueError(
            f"top_k must be between 1 and the number of experts, {num_experts}, found {quote(top_k)}: "
            "choose another top_k or add experts"
        )


def refuse_faults(options: Options, others: Iterable[str] = ()) -> None:
    """Raise if an option has another type than declared, or a value that no router can use.

    Args:
        options: a dataclass of options; ``top_k``, ``temperature``, ``abstain`` and ``input_norm``, which
            several routers have, are checked here.
        others: further faults of the values; they are computed only if all types are right.

    Raises:
        ValueError: with all faults.
    """
    require_types(options)
    given = {name: getattr(options, name) for name in options.__dataclass_fields__}
    faults = [
        *find_choice_faults(given.get("top_k"), given.get("temperature", 1.0), given.get("abstain")),
        *find_norm_faults(given.get("input_norm", "none")),
        *others,
    ]
    if faults:
        raise ValueError("; ".join(faults))


def check_choice(temperature: float, abstain: float | None) -> None:
    """Check that scores can be divided by ``temperature``, and that ``abstain`` is finite or None.

    Raises:
        ValueError: if not; the message has all faults.
    """
    faults = find_choice_faults(None, temperature, abstain)
    if faults:
        raise ValueError("; ".join(faults))


def find_choice_faults(top_k: int | None, temperature: float, abstain: float | None) -> list[str]:
    """List the faults of these options that can be found without the experts."""
    faults = []
    if top_k is not None and top_k < 1:
        faults.append(f"top_k must be at least 1, found {quote(top_k)}")
    if not (SMALLEST <= temperature <= LARGEST or temperature == inf):
        bound = f"{SMALLEST:g} to {LARGEST:g}, or infinite" if temperature > 0 else "above 0"
        faults.append(f"temperature must be {bound}, found {quote(temperature)}")
    # The base model's score is divided by the temperature too.
    scale = temperature if SMALLEST <= temperature < 1 else 1
    if abstain is not None and not abs(abstain) <= LARGEST * scale:
        bound = f"at most {LARGEST:g} temperatures" if abs(abstain) < inf else "finite"
        faults.append(
            f"abstain must be {bound}, or None for no share of the base model, found {quote(abstain)}"
        )
    return faults


def check_input_norm(input_norm: str) -> None:
    """Check the option.

    Raises:
        ValueError: if it has another value than the known ones.
    """
    faults = find_norm_faults(input_norm)
    if faults:
        raise ValueError(faults[0])


def find_norm_faults(input_norm: str) -> list[str]:
    """List the option's faults, for a configuration that reports all its faults at once."""
    if input_norm in INPUT_NORMS:
        return []
    return [f"input_norm must be one of {', '.join(INPUT_NORMS)}, found {quote(input_norm)}"]
