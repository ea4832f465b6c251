"""Chat rows: a list of messages, as OpenAI's and Hugging Face's data have them."""

from lorary.data.readers.chat import read_conversation
from lorary.data.readers.row_format import Row, RowFormat
from lorary.data.task import Example


def read_messages(row: Row) -> Example:
    """Read a conversation: the assistant's last message is the target, all before it the prompt."""
    return read_conversation(row, "messages")


MESSAGES = RowFormat(
    keys="messages [{role, content}]; system, tools if there are any",
    meaning="all messages before the assistant's last one are the prompt, that one is the target",
    example={
        "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
    },
    matches=lambda row: "messages" in row,
    read=read_messages,
)
