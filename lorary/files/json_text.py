"""Untrusted JSON, read strictly, and JSON written the same way everywhere."""

import json
import math
import re
from typing import Any

from lorary.errors import FormatError
from lorary.files.limits import LIMITS
from lorary.files.quoting import escape, is_visible, quote
from lorary.files.shape import MAX_DIGITS, check_shape

AGAIN = "fetch or write it again"
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


def parse_json(content: bytes, path: str, advice: str = AGAIN) -> Any:
    """Parse the bytes of a JSON file.

    Values on which readers disagree are also refused, such as a repeated key, NaN, infinities
    and lone surrogates; numbers out of range; and values nested deeper than
    ``LIMITS["json_depth"]``.

    Args:
        content: the file's bytes.
        path: the file's path, for messages.
        advice: what to do about a refused file, for messages.

    Raises:
        FormatError: if it is refused.
    """
    try:
        value = _parse(content)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"{quote(path)} must be a JSON file, found {quote(content[:20])} "
            f"({escape(str(error) or type(error).__name__, longest=200)}): {advice}"
        ) from error
    return value


def parse_json_object(content: bytes, path: str, advice: str = AGAIN) -> dict[str, Any]:
    """Parse the bytes of a JSON file that holds one object; see ``parse_json``."""
    value = parse_json(content, path, advice)
    if not isinstance(value, dict):
        raise FormatError(f"{quote(path)} must hold a JSON object, found {quote(value, 60)}: {advice}")
    return value


def dump_json(value: Any, *, indent: int | None = 2, allow_nan: bool = False) -> str:
    """Write a value as JSON, with keys in the given order; control characters become ``\\u....``.

    Args:
        value: a value that JSON can represent.
        indent: spaces per level; None for one line.
        allow_nan: whether NaN and infinities are allowed, which JSON does not have.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=allow_nan)
    # json.dumps escapes what is below U+007F.
    return _NOT_ASCII.sub(
        lambda found: found[0] if is_visible(found[0]) else json.dumps(found[0]).strip('"'), text
    )


def _parse(content: bytes) -> Any:
    # Characters that separate values and open groups; commas within text count too, as an upper bound.
    if content.count(b",") + content.count(b"{") + content.count(b"[") > LIMITS["json_values"].value:
        raise ValueError(f"it holds too many values: {LIMITS['json_values'].advice}")
    value = json.loads(
        content.decode("utf-8-sig"),
        object_pairs_hook=_build_object,
        parse_constant=_refuse_constant,
        parse_float=_parse_float,
        parse_int=_parse_int,
    )
    depth = int(LIMITS["json_depth"].value)
    # Most files can neither nest too deeply nor have escaped lone surrogates.
    if content.count(b"[") + content.count(b"{") > depth or b"\\u" in content:
        check_shape(value, max_depth=depth)
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {quote(twice, 60)} is repeated in one object")
    return built


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number {escape(text, longest=40)} is out of range")
    return value


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"integer {escape(text, longest=40)} has {len(text)} digits, more than {MAX_DIGITS}")
    return int(text)
