"""Turning conversations into examples, and examples into messages for chat templates."""

import json
from collections.abc import Sequence
from typing import Any

from lorary.data.task import Example
from lorary.data.turns import Turn


def build_example(turns: Sequence[Turn], tools: str = "") -> Example:
    """Make an example of a conversation: the target is its last assistant turn, the prompt all before.

    Args:
        turns: the conversation. Turns after the last assistant turn that may be a target are left out.
        tools: a JSON list of the tools that the assistant may call; ``''`` for none.

    Raises:
        ValueError: if no assistant turn may be a target, or no turn precedes it.
    """
    places = [place for place, turn in enumerate(turns) if turn.role == "assistant" and turn.is_target]
    if not places:
        raise ValueError("a conversation must have an assistant turn that training may use, found none")
    if not places[-1]:
        raise ValueError("the assistant's turn must follow another turn, but it is the first")
    return _answer_at(turns, places[-1], tools)


def _answer_at(turns: Sequence[Turn], place: int, tools: str) -> Example:
    """Make an example whose target is the turn at a place."""
    history, answer = tuple(turns[:place]), turns[place]
    asked = ""
    if history[-1].role == "user" and not history[-1].fields:
        asked, history = history[-1].text, history[:-1]
    return Example(
        asked,
        (answer.plain,),
        history=history,
        answer=answer if answer.fields else None,
        tools=tools,
    )


def expand_turns(example: Example) -> tuple[Example, ...]:
    """Return one example for each assistant turn of a conversation; the last one is ``example`` itself.

    Turns that open the conversation, or that training must not use, are left out.
    """
    earlier = [
        _answer_at(example.history, place, example.tools)
        for place, turn in enumerate(example.history)
        if place and turn.role == "assistant" and turn.is_target
    ]
    return (*earlier, example)


def list_messages(example: Example, definition: str = "") -> list[dict[str, Any]]:
    """Return the conversation before the answer as messages for chat templates.

    Args:
        example: an example with at least one turn or an input.
        definition: the task's definition. It is put at the beginning of the user's last turn, because several
            models' templates refuse a system turn or an empty user turn.
    """
    asked = [{"role": "user", "content": example.input}] if example.input else []
    messages = [*(turn.message for turn in example.history), *asked]
    if definition:
        places = [place for place, message in enumerate(messages) if message["role"] == "user"]
        opened = messages[places[-1] if places else 0]
        opened["content"] = f"{definition}\n\n{opened['content']}"
    return messages


def merge_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without system turns; their text is put at the beginning of the user's first turn.

    Args:
        messages: a conversation. If it has no user turn, one is added at the beginning.
    """
    said = [message["content"] for message in messages if message["role"] == "system"]
    others = [dict(message) for message in messages if message["role"] != "system"]
    if not said:
        return others
    first = next((message for message in others if message["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": "\n\n".join(said)}, *others]
    first["content"] = "\n\n".join(part for part in (*said, first["content"]) if part)
    return others


def make_answer(example: Example, text: str) -> dict[str, Any]:
    """Return an answer as a message for chat templates.

    Args:
        example: the example that is answered.
        text: one of its targets or choices, or any other answer.
    """
    if example.answer is not None and text == example.targets[0]:
        return example.answer.message
    return {"role": "assistant", "content": text}


def load_tools(example: Example) -> list[dict[str, Any]] | None:
    """Return the tools that the assistant may call, in the form for chat templates; None for none."""
    return json.loads(example.tools) if example.tools else None
