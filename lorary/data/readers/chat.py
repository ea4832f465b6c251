"""Reading turns of a conversation from a row, in the forms of OpenAI's and ShareGPT's data."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorary.data.conversation import build_example
from lorary.data.readers.content import read_content, refuse_media
from lorary.data.readers.fields import Fields
from lorary.data.readers.lines import parse_json
from lorary.data.readers.row_format import Row, take_text
from lorary.data.readers.tool_calls import dump_fields, read_calls, read_tools
from lorary.data.task import Example
from lorary.data.turns import REASONING, Turn
from lorary.files import quote

CALLS = "calls"
# Names of speakers in data sets -> role.
SPEAKERS = {
    **dict.fromkeys(["system", "developer"], "system"),
    **dict.fromkeys(["user", "human", "prompter"], "user"),
    **dict.fromkeys(["assistant", "gpt", "chatgpt", "model", "bot", "ai", "bard", "bing"], "assistant"),
    **dict.fromkeys(["tool", "function", "observation", "ipython", "function_response"], "tool"),
    **dict.fromkeys(["function_call", "tool_call"], CALLS),
}
SAID = ("content", "value", "text")
NEEDED = {*SAID, "tool_calls", "function_call"}
KNOWN = {"role", "from", *NEEDED, *REASONING, "name", "tool_call_id", "weight", "train"}
EXCHANGE = {"system": "system", "input": "user", "output": "assistant"}
SYSTEM_FIELDS = ("system", "system_prompt")


def read_conversation(row: Row, name: str) -> Example:
    """Read a conversation from a row's field, with the row's system turn and tools.

    Raises:
        ValueError: saying what is wrong with it.
    """
    return build_noted(row, [*take_system(row), *read_turns(row, name)])


def build_noted(row: Row, turns: Sequence[Turn]) -> Example:
    """Make an example of a conversation and the row's tools; turns after the answer are recorded as unused.

    Raises:
        ValueError: as ``build_example``.
    """
    example = build_example(turns, take_tools(row))
    num_read = len(example.history) + bool(example.input) + 1
    if isinstance(row, Fields) and len(turns) > num_read:
        row.note_unused(["messages after the last answer"])
    return example


def take_system(row: Row) -> list[Turn]:
    """Return the system turn that a row has in a separate field, as a list; empty if there is none."""
    name = next((name for name in SYSTEM_FIELDS if name in row), None)
    is_there = name is not None and row[name] != ""
    return [Turn("system", take_text(row, name))] if is_there and name else []


def take_tools(row: Row) -> str:
    """Return a row's tools as a JSON list; ``''`` for none."""
    return read_tools(row.get("tools"))


def read_turns(row: Row, name: str) -> list[Turn]:
    """Read the messages in a row's field: a list of messages, or such a list as JSON text.

    Other keys of the messages are recorded as unused.

    Raises:
        ValueError: saying what is wrong with it.
    """
    value = row.get(name)
    messages = parse_json(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    if isinstance(messages, ValueError) or not isinstance(messages, list | tuple):
        raise ValueError(f"{name!r} must be a list of {{'role', 'content'}}, not {quote(value, 60)}")
    messages = [part for message in messages for part in _part_exchange(message)]
    turns = [turn for message in messages if (turn := _read_turn(message)) is not None]
    if isinstance(row, Fields):
        held = {key for message in messages for key in message if message[key] is not None}
        row.note_unused(f"{name}.{key}" for key in sorted(held - KNOWN, key=str))
    return turns


def _part_exchange(message: Any) -> list[Any]:
    """Split a message that has both question and answer into two; return any other message unchanged."""
    if not isinstance(message, Mapping) or not message.keys() >= {"input", "output"} or "role" in message:
        return [message]
    rest = {key: value for key, value in message.items() if key not in EXCHANGE}
    parts = {role: message.get(key) for key, role in EXCHANGE.items() if message.get(key)}
    return [{**rest, "role": role, "content": content} for role, content in parts.items()]


def _read_turn(message: Any) -> Turn | None:
    """Read one message; None for an empty system turn."""
    role, content = _take_parts(message)
    refuse_media(message)
    fields = _take_fields(message, role, content)
    is_said = role not in ("system", "tool", CALLS) and "tool_calls" not in fields
    text = "" if role == CALLS else read_content(content, may_be_empty=not is_said)
    if role == "system" and not text:
        return None
    is_target = message.get("weight", 1) != 0 and message.get("train", True) is not False
    return Turn(
        "assistant" if role == CALLS else role, text, dump_fields(fields) if fields else "", is_target
    )


def _take_parts(message: Any) -> tuple[str, object]:
    """Return a message's role and its content."""
    is_message = isinstance(message, Mapping) and bool(NEEDED & message.keys())
    names = [message[key] for key in ("role", "from") if message.get(key) is not None] if is_message else []
    if not names:
        raise ValueError(f"a message must have 'role' and 'content', found {quote(message, 60)}")
    speaker = names[0]
    role = SPEAKERS.get(speaker.casefold()) if isinstance(speaker, str) else None
    if role is None:
        raise ValueError(f"a message's role must be one of {tuple(SPEAKERS)}, not {quote(speaker, 60)}")
    content = next((message[key] for key in SAID if message.get(key) is not None), None)
    return role, content


def _take_fields(message: Mapping[str, Any], role: str, content: object) -> dict[str, Any]:
    """Return a message's fields besides role and content that chat templates use."""
    names = ("name", "tool_call_id", *(REASONING if role == "assistant" else ()))
    fields = {name: message[name] for name in names if isinstance(message.get(name), str) and message[name]}
    given = content if role == CALLS else message.get("tool_calls") or message.get("function_call")
    return {**fields, "tool_calls": read_calls(given)} if given else fields
