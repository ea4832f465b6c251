"""Conversations as examples, and examples as the messages that a chat template is given."""

import json
from collections.abc import Sequence
from typing import Any

from lorary.data.task import Example
from lorary.data.turns import Turn


def build_example(turns: Sequence[Turn], tools: str = "") -> Example:
    """Make a conversation's last assistant turn the target; what comes before it is the prompt.

    Args:
        turns: the conversation; what follows the last turn that training may learn is left out.
        tools: a JSON list of the tools that the assistant may call; ``''`` for none.

    Raises:
        ValueError: if no assistant turn may be learnt, or nothing stands before it.
    """
    places = [place for place, turn in enumerate(turns) if turn.role == "assistant" and turn.is_target]
    if not places:
        raise ValueError("a conversation must have a turn of the assistant's to learn, it has none")
    if not places[-1]:
        raise ValueError("the assistant's turn must follow another one, it follows nothing")
    return _answer_at(turns, places[-1], tools)


def _answer_at(turns: Sequence[Turn], place: int, tools: str) -> Example:
    """Make the turn at a place the target."""
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
    """Give one example per assistant turn of a conversation, the last turn's being ``example`` itself.

    A turn that opens the conversation, or that training may not learn, gives none.
    """
    earlier = [
        _answer_at(example.history, place, example.tools)
        for place, turn in enumerate(example.history)
        if place and turn.role == "assistant" and turn.is_target
    ]
    return (*earlier, example)


def list_messages(example: Example, definition: str = "") -> list[dict[str, Any]]:
    """Give the conversation before the answer, as chat templates take it.

    Args:
        example: what is asked; at least a turn or an input.
        definition: what is to be done, in words. It opens the user's last turn, because several models'
            templates refuse a system turn, or the first turn where the user says nothing.
    """
    asked = [{"role": "user", "content": example.input}] if example.input else []
    messages = [*(turn.message for turn in example.history), *asked]
    if definition:
        places = [place for place, message in enumerate(messages) if message["role"] == "user"]
        opened = messages[places[-1] if places else 0]
        opened["content"] = f"{definition}\n\n{opened['content']}"
    return messages


def merge_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give messages without system turns: what these say opens the user's first turn.

    Args:
        messages: of a conversation; where no user speaks, a user's turn is put first.
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
    """Give an answer as chat templates take it.

    Args:
        example: what is answered.
        text: one of its targets, its choices, or any other answer.
    """
    if example.answer is not None and text == example.targets[0]:
        return example.answer.message
    return {"role": "assistant", "content": text}


def load_tools(example: Example) -> list[dict[str, Any]] | None:
    """Give the tools that the assistant may call, as chat templates take them; None for none."""
    return json.loads(example.tools) if example.tools else None
