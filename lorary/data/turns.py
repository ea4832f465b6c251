"""One turn of a conversation: what chat templates are given of it, and how it reads as plain text."""

import json
from typing import Any, NamedTuple

ROLES = ("system", "user", "assistant", "tool")

# Where different data sets keep what an assistant thought before it answered.
REASONING = ("reasoning_content", "reasoning", "thinking")


class Turn(NamedTuple):
    """What one side of a conversation says."""

    role: str
    """One of ``ROLES``."""
    text: str
    """What is said; ``''`` where the turn is only a call of tools, or a tool returned nothing."""
    fields: str = ""
    """What chat templates read of the message besides role and content (``tool_calls``, ``tool_call_id``,
    ``name``, ``reasoning_content``), as a JSON object; ``''`` for nothing."""
    is_target: bool = True
    """Whether training may learn it, if the assistant says it."""

    @property
    def message(self) -> dict[str, Any]:
        """The turn as chat templates take it."""
        return {"role": self.role, "content": self.text, **self._load_fields()}

    @property
    def plain(self) -> str:
        """The turn as plain text: what was thought, what is said, and the tools that are called."""
        fields = self._load_fields()
        thoughts = [f"<think>\n{fields[key]}\n</think>" for key in REASONING if fields.get(key)]
        calls = [write_call(call) for call in fields.get("tool_calls", [])]
        return "\n".join(part for part in (*thoughts, self.text, *calls) if part)

    def _load_fields(self) -> dict[str, Any]:
        return json.loads(self.fields) if self.fields else {}


def drop_thoughts(text: str) -> str:
    """Return what an answer says after the thoughts that it opens with: nothing while these have no end."""
    opened = text.lstrip()
    return opened.partition("</think>")[2] if opened.startswith("<think>") else text


def write_call(call: dict[str, Any]) -> str:
    """Write the call of a tool as one line of text, as many chat templates write it."""
    made = {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
    return f"<tool_call>{json.dumps(made, ensure_ascii=False)}</tool_call>"


def write_tools(tools: str) -> str:
    """Write a JSON list of tools as text, one tool on a line; nothing if there are none."""
    if not tools:
        return ""
    lines = [json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in json.loads(tools)]
    return "\n".join(["Tools:", *lines])
