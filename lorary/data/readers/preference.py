"""Preference rows for DPO: a question, a chosen answer and a rejected one.

The chosen answer is the target; the rejected one is counted, but never used as a target.
"""

import re
from collections.abc import Mapping

from lorary.data.readers.alpaca import read_alpaca, read_history
from lorary.data.readers.chat import build_noted, read_turns, take_system
from lorary.data.readers.row_format import Row, RowFormat, is_filled, name_keys, take_text
from lorary.data.task import Example
from lorary.data.turns import Turn

CONVERSATIONS = ("conversations", "conversation", "messages")
ASKED = ("prompt", "question", "input", "query")
# Anthropic's HH rows have whole conversations as text.
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def read_preference(row: Row) -> Example:
    """Read the question and the chosen answer: a text, a message, or the messages of a conversation."""
    if "instruction" in row:
        names = ("instruction", "input", "system", "history", "tools")
        return read_alpaca(
            {**{name: row[name] for name in names if name in row}, "output": row.get("chosen")}
        )
    before, chosen = _read_asked(row), _read_chosen(row)
    if any(turn.role != "assistant" for turn in chosen):
        # The chosen messages are a whole conversation, which usually begins with the question.
        said = {turn.text for turn in chosen}
        before = [turn for turn in before if turn.text not in said]
    elif not any(turn.role != "system" for turn in before):
        wanted = ", ".join(map(repr, (*CONVERSATIONS, *ASKED)))
        raise ValueError(f"a row with 'chosen' must also have one of {wanted}, found {name_keys(row)}")
    return build_noted(row, [*take_system(row), *read_history(row), *before, *chosen])


def count_rejected(row: Row) -> int:
    """Count the answers that a row rejects."""
    return int(row.get("rejected") is not None)


def _read_asked(row: Row) -> list[Turn]:
    name = next((name for name in (*CONVERSATIONS, *ASKED) if is_filled(row, name)), None)
    if name is None:
        return []
    if name in CONVERSATIONS or isinstance(row[name], list | tuple):
        return read_turns(row, name)
    return [Turn("user", take_text(row, name))]


def _read_chosen(row: Row) -> list[Turn]:
    if isinstance(row.get("chosen"), Mapping):
        return read_turns({"chosen": [row["chosen"]]}, "chosen")
    if isinstance(row.get("chosen"), list | tuple):
        return read_turns(row, "chosen")
    text = take_text(row, "chosen")
    parts = SPEAKER.split(text)
    if len(parts) < 3 or parts[0]:
        return [Turn("assistant", text)]
    roles = {"Human": "user", "Assistant": "assistant"}
    spoken = zip(parts[1::2], parts[2::2], strict=True)
    return [Turn(roles[speaker], said.strip()) for speaker, said in spoken if said.strip()]


PREFERENCE = RowFormat(
    keys="chosen, rejected; prompt | question | messages | conversations | instruction",
    meaning="the question is the prompt, the chosen answer the target; the rejected one is never trained on",
    example={"prompt": "3 x 3?", "chosen": "9", "rejected": "6"},
    matches=lambda row: "chosen" in row,
    read=read_preference,
    count_rejected=count_rejected,
)
