"""Tools and their calls in the form for chat templates: OpenAI's, with arguments as JSON objects."""

import json
from collections.abc import Mapping
from typing import Any

from lorary.data.readers.lines import parse_json
from lorary.files import LIMITS, check_shape, quote


def read_calls(value: object) -> list[dict[str, Any]]:
    """Read calls of tools: a list of calls, one call, or either of them as JSON text.

    Raises:
        ValueError: if the value is something else, or a call has no name.
    """
    found = _load(value, "tool_calls")
    return [_read_call(call) for call in (found if isinstance(found, list | tuple) else [found])]


def read_tools(value: object) -> str:
    """Read the tools that an assistant may call: a list, or a list as JSON text.

    Returns:
        A JSON list; ``''`` for no tools.

    Raises:
        ValueError: if it is something else.
    """
    found = [] if value is None or value == "" else _load(value, "tools")
    if not isinstance(found, list | tuple) or not all(isinstance(tool, Mapping) for tool in found):
        raise ValueError(f"'tools' must be a list of objects, not {quote(value, 60)}")
    tools = [tool if "function" in tool else {"type": "function", "function": tool} for tool in found]
    return dump_fields(tools) if tools else ""


def dump_fields(value: object) -> str:
    """Encode a value of a row as JSON, with its order of keys.

    Raises:
        ValueError: if it is nested too deeply, or has values that JSON or UTF-8 cannot represent.
    """
    check_shape(value, max_depth=int(LIMITS["json_depth"].value))
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{quote(value, 60)} must be JSON: {error}") from error


def _read_call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"the call of a tool must have a name, found {quote(call, 60)}")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        # Templates encode arguments as JSON. A text of JSON would be encoded again, as a string in quotes.
        found = parse_json(arguments) if arguments.strip() else {}
        arguments = arguments if isinstance(found, ValueError) else found
    own = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**own, "type": "function", "function": {"name": name, "arguments": arguments}}


def _load(value: object, where: str) -> object:
    if not isinstance(value, str):
        return value
    found = parse_json(value)
    if isinstance(found, ValueError):
        raise ValueError(f"{where!r} must be JSON: {found}")
    return found
