"""Chat rows: a list of messages, the last of the assistant's being the target."""

from lorary.data.readers.row_format import Row, RowFormat, clean_text
from lorary.data.task import ROLES, Example
from lorary.files import quote


def read_messages(row: Row) -> Example:
    """Read a conversation: the assistant's last message answers the one before, earlier turns are history."""
    turns = _take_turns(row.get("messages"))
    last = max((place for place, (role, _) in enumerate(turns) if role == "assistant"), default=None)
    if last is None:
        raise ValueError("'messages' must have a message of the assistant's, it has none")
    if last == 0 or turns[last - 1][0] != "user":
        before = turns[last - 1][0] if last else "nothing"
        raise ValueError(f"the assistant's last message must follow one of the user's, it follows {before}")
    return Example(turns[last - 1][1], (turns[last][1],), history=tuple(turns[: last - 1]))


def _take_turns(messages: object) -> list[tuple[str, str]]:
    if not isinstance(messages, list | tuple):
        raise ValueError(f"'messages' must be a list of {{'role', 'content'}}, not {quote(messages, 60)}")
    turns = []
    for message in messages:
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise ValueError(f"a message must have 'role' and 'content', this is {quote(message, 60)}")
        if message["role"] not in ROLES:
            raise ValueError(f"a message's role must be one of {ROLES}, not {quote(message['role'], 60)}")
        turns.append((message["role"], clean_text(message["content"], "content")))
    return turns


MESSAGES = RowFormat(
    keys="messages [{role, content}]", matches=lambda row: "messages" in row, read=read_messages
)
