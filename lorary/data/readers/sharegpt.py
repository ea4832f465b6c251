"""ShareGPT's rows: a list of turns, each with a speaker (``from``) and a text (``value``)."""

from lorary.data.readers.chat import read_conversation
from lorary.data.readers.row_format import Row, RowFormat
from lorary.data.task import Example

NAMES = ("conversations", "conversation")


def read_sharegpt(row: Row) -> Example:
    """Read a conversation: the assistant's last turn is the target, all before it the prompt."""
    return read_conversation(row, next((name for name in NAMES if name in row), NAMES[0]))


SHAREGPT = RowFormat(
    keys="conversations | conversation [{from, value}] | [{input, output}]; system, tools if there are any",
    meaning="all turns before the assistant's last one are the prompt, that one is the target",
    example={"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
    matches=lambda row: any(name in row for name in NAMES),
    read=read_sharegpt,
)
