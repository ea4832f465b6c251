"""The structure of a file's values: their depth, their number, and whether their text can be encoded."""

from collections.abc import Mapping
from typing import Any

from lorary.files.limits import LIMITS
from lorary.files.quoting import quote

# Enough for any 64-bit number, but too few to make arithmetic slow.
MAX_DIGITS = 40


def check_shape(value: Any, *, max_depth: int, max_count: float = float("inf")) -> None:
    """Refuse values that are nested too deeply, are too many, or have huge integers or invalid Unicode.

    Shared parts, which YAML's aliases make, count as often as they occur.

    Args:
        value: mappings and lists with their values.
        max_depth: levels of nesting, the value itself being the first.
        max_count: values at all levels together.

    Raises:
        ValueError: naming the limit, or the text.
    """
    waiting = [(value, 1)]
    count = 0
    while waiting:
        found, depth = waiting.pop()
        count += 1
        if depth > max_depth:
            raise ValueError(f"it nests too deeply: {LIMITS['json_depth'].advice}")
        if count + len(waiting) > max_count:
            raise ValueError(f"it holds too many values: {LIMITS['yaml_nodes'].advice}")
        if isinstance(found, int) and abs(found) >= 10**MAX_DIGITS:
            raise ValueError(f"it holds an integer of more than {MAX_DIGITS} digits")
        if isinstance(found, str):
            _refuse_surrogates(found)
        elif isinstance(found, Mapping):
            waiting += [(part, depth + 1) for pair in found.items() for part in pair]
        elif isinstance(found, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in found]


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"half of a surrogate pair is in {quote(text[max(error.start - 10, 0) : error.end + 10])}"
        ) from None
