"""One turn of a conversation, as a message for chat templates and as plain text."""

import json
from typing import Any, NamedTuple

ROLES = ("system", "user", "assistant", "tool")

# Fields of an assistant's reasoning in different data sets.
REASONING = ("reasoning_content", "reasoning", "thinking")


class Turn(NamedTuple):
    """One turn of a conversation."""

    role: str
    """One of ``ROLES``."""
    text: str
    """The text; ``''`` if the turn has only tool calls, or a tool returned nothing."""
    fields: str = ""
    """The message's other fields for chat templates (``tool_calls``, ``tool_call_id``, ``name``,
    ``reasoning_content``), as a JSON object; ``''`` for none."""
    is_target: bool = True
    """Whether training may use an assistant's turn as a target."""

    @property
    def message(self) -> dict[str, Any]:
        """The turn as a message for chat templates."""
        return {"role": self.role, "content": self.text, **self._load_fields()}

    @property
    def plain(self) -> str:
        """The turn as plain text: reasoning, text, and tool calls."""
        fields = self._load_fields()
        thoughts = [f"<think>\n{fields[key]}\n</think>" for key in REASONING if fields.get(key)]
        calls = [write_call(call) for call in fields.get("tool_calls", [])]
        return "\n".join(part for part in (*thoughts, self.text, *calls) if part)

    def _load_fields(self) -> dict[str, Any]:
        return json.loads(self.fields) if self.fields else {}


def drop_thoughts(text: str) -> str:
    """Return an answer without the reasoning at its beginning; ``''`` if the reasoning has no end."""
    opened = text.lstrip()
    return opened.partition("</think>")[2] if opened.startswith("<think>") else text


def write_call(call: dict[str, Any]) -> str:
    """Write a tool call as one line of text, in the form of many chat templates."""
    made = {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
    return f"<tool_call>{json.dumps(made, ensure_ascii=False)}</tool_call>"


def write_tools(tools: str) -> str:
    """Write a JSON list of tools as text, one tool on each line; ``''`` if there are none."""
    if not tools:
        return ""
    lines = [json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in json.loads(tools)]
    return "\n".join(["Tools:", *lines])
