"""Alpaca's rows: an instruction, an input that may be empty, and the answer.

Source of the standard prompt: Stanford Alpaca, github.com/tatsu-lab/stanford_alpaca.
"""

from lorary.data.readers.chat import take_system, take_tools
from lorary.data.readers.row_format import Row, RowFormat, is_filled, take_answers, take_text
from lorary.data.task import Example
from lorary.data.turns import Turn
from lorary.files import quote

ANSWERS = ("output", "response", "answer", "completion", "target")
# Dolly's rows call the input context.
INPUTS = ("input", "context")
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
CUE = "### Response:"


def read_alpaca(row: Row) -> Example:
    """Read an instruction with its input, if there is one.

    Plain templates use Alpaca's standard prompt; a system turn replaces its opening sentences. In a
    conversation, and in chat templates, the user's turn is the instruction followed by the input.
    """
    instruction = take_text(row, "instruction") if is_filled(row, "instruction") else ""
    given = "\n\n".join(take_text(row, name) for name in INPUTS if is_filled(row, name))
    if not (instruction or given):
        raise ValueError("field 'instruction' is missing or empty, and so is 'input'")
    system, earlier = take_system(row), read_history(row)
    asked = "\n\n".join(part for part in (instruction, given) if part)
    is_standard = bool(instruction) and not earlier
    return Example(
        asked,
        take_answers(row, _find_answer(row) or ANSWERS[0]),
        history=(*system, *earlier),
        plain=write_standard(instruction, given, opens=not system) if is_standard else None,
        cue=CUE if is_standard else None,
        tools=take_tools(row),
    )


def write_standard(instruction: str, given: str, *, opens: bool = True) -> str:
    """Write Alpaca's standard prompt up to the line ``### Response:``.

    Args:
        instruction: the instruction.
        given: its input; ``''`` for none.
        opens: whether the prompt begins with the explanatory sentences.
    """
    opening = [WITH_INPUT if given else WITHOUT_INPUT] if opens else []
    parts = [f"### Instruction:\n{instruction}", *([f"### Input:\n{given}"] if given else [])]
    return "\n\n".join([*opening, *parts]) + "\n"


def read_history(row: Row) -> list[Turn]:
    """Read earlier questions and answers, a list of pairs in the field ``history``, as turns."""
    pairs = row.get("history") or ()
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError(f"field 'history' must be a list of [question, answer], not {quote(pairs, 60)}")
    roles = ("user", "assistant")
    return [
        Turn(role, take_text({"history": text}, "history"))
        for pair in pairs
        for role, text in zip(roles, pair, strict=True)
    ]


def _find_answer(row: Row) -> str | None:
    return next((name for name in ANSWERS if name in row), None)


ALPACA = RowFormat(
    keys=f"instruction, {' | '.join(ANSWERS)}; input | context, system, history, tools if there are any",
    meaning="system, history, instruction and input are the prompt, the answer is the target",
    example={"instruction": "Name the capital.", "input": "France", "output": "Paris"},
    matches=lambda row: "instruction" in row and _find_answer(row) is not None,
    read=read_alpaca,
)
